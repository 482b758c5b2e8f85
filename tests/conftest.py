"""What tests of several parts start from."""

from pathlib import Path

import pytest

from ptpool.warehouse import open_warehouse


@pytest.fixture
def empty_warehouse(tmp_path: Path) -> Path:
    """A new warehouse."""
    path = tmp_path / "new.duckdb"
    with open_warehouse(path, write=True):
        pass
    return path
