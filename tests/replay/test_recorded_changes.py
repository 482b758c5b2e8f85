"""The direct map against real kernels: every split of 1,700 recorded permission changes, operation by operation."""

from pathlib import Path

import pytest
from recorded_changes import replayed

SPLITS = sorted((Path(__file__).parents[2] / "data" / "splits").glob("*.jsonl.zst"))


@pytest.mark.parametrize("path", SPLITS, ids=lambda path: path.name.partition(".")[0])
def test_splits_are_those_that_the_kernel_counted(path):
    operations = replayed(path)

    assert [operation for operation in operations if operation.predicted != operation.recorded] == []
    assert sum(sum(operation.recorded) for operation in operations) > 10  # the file does split something


@pytest.mark.parametrize("path", SPLITS, ids=lambda path: path.name.partition(".")[0])
def test_the_plan_counts_the_tables_that_the_change_takes(path):
    assert [operation for operation in replayed(path) if operation.needed != sum(operation.predicted)] == []


def test_there_are_recordings_of_two_kernels():
    assert {path.name.partition("-")[0] for path in SPLITS} == {"612", "73"}
