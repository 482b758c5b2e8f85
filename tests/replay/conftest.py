"""A warehouse before and after a sweep in which nothing went wrong."""

import shutil

import pytest
from toy_sweep import import_tiny, sweep_of

from ptpool.cli import run


@pytest.fixture(scope="session")
def captures(tmp_path_factory):
    """A warehouse with one tiny capture."""
    return import_tiny(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="session")
def swept(captures):
    """The same warehouse after the sweep."""
    path = captures.with_name("swept.duckdb")
    shutil.copy(captures, path)
    assert run(sweep_of(captures, path)) == 0
    assert not list(path.parent.glob("swept.duckdb.*"))
    return path
