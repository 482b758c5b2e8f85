"""Warehouses that tests of several wings read: a sweep before and after, and two recordings with their snapshots."""

import random
import shutil

import pytest
from captures import folder_of
from toy_sweep import RUNS, import_tiny, sweep_of

from ptpool.cli import run
from ptpool.warehouse import open_warehouse


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


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """A warehouse with two recordings, which have page flags and other snapshots."""
    path = tmp_path_factory.mktemp("recordings") / "ptpool.duckdb"
    for name in ("sharedmem-frag-1g", "boot-512m"):
        assert run(["ingest", "trace", str(folder_of(name)), "--quiet", "--db", str(path)]) == 0
    return path


@pytest.fixture
def connection(recordings):
    """The same warehouse, as it was before when the test ends."""
    with open_warehouse(recordings, write=True) as connection:
        connection.begin()
        yield connection
        connection.rollback()


@pytest.fixture
def sweep(captures, tmp_path):
    """A sweep that is about to begin: command, warehouse, folder of its shards."""
    path, out = tmp_path / "killed.duckdb", tmp_path / "shards"
    shutil.copy(captures, path)
    return sweep_of(captures, path, "--out", str(out)), path, out


@pytest.fixture
def moment():
    """How many runs have finished when the blow falls."""
    return random.randint(1, RUNS // 2)
