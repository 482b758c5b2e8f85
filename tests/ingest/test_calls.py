"""Tasks and calls: each is numbered once, in order of first appearance, however many there are."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.calls import Numbers
from ingest.ownership import class_names
from ingest.trace import ROW
from ptpool.vocabulary import KINDS

TRACE: Any = SimpleNamespace(comms=["sh", "cc1"], gfps=["GFP_KERNEL", "GFP_USER"])
GFP_BITS = np.array([0xCC0, 0x100CC0, 0], np.uint32)
STACKS = np.array([4, 7, 4, -1], np.int32)  # the trace repeats its first stack
FIELDS = st.fixed_dictionaries(
    {
        "pid": st.integers(0, 3),
        "comm": st.integers(-1, 1),
        "gfp": st.integers(-1, 1),
        "stack": st.integers(-1, 2),
        "kind": st.integers(0, len(KINDS) - 1),
        "order": st.integers(0, 2),
        "migratetype": st.integers(-1, 2),
    }
)


def batch(events: list[dict[str, int]]) -> NDArray[np.void]:
    rows = np.zeros(len(events), ROW)
    for row, event in enumerate(events):
        for name, value in event.items():
            rows[name][row] = value
    return rows


def by_number(table: pa.Table) -> dict[int, tuple[object, ...]]:
    return {number: tuple(row) for number, *row in (each.values() for each in table.to_pylist())}


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.tuples(FIELDS, st.integers(0, 4)), min_size=1, max_size=30), min_size=1, max_size=3))
def test_numbers_lead_back_to_the_events(batches: list[list[tuple[dict[str, int], int]]]) -> None:
    numbers, numbered, wanted = Numbers(10, 20), [], []
    names = class_names()
    for events in batches:
        codes = np.array([code for _, code in events], np.uint8)
        numbered += zip(*numbers.number(batch([event for event, _ in events]), STACKS, codes), strict=True)
        for event, code in events:
            comm, gfp, stack = event["comm"], event["gfp"], int(STACKS[event["stack"]])
            task = event["pid"], TRACE.comms[comm] if comm >= 0 else None
            call = (
                KINDS[event["kind"]],
                event["order"],
                event["migratetype"] if event["migratetype"] >= 0 else None,
                int(GFP_BITS[gfp]) if gfp >= 0 else None,
                TRACE.gfps[gfp] if gfp >= 0 else None,
                stack if stack >= 0 else None,
                *names[code],
            )
            wanted.append((task, call))
    tasks, calls = by_number(numbers.tasks(TRACE)), by_number(numbers.calls(TRACE, GFP_BITS))
    assert [(tasks[task], calls[call]) for task, call in numbered] == wanted
    assert list(tasks.values()) == list(dict.fromkeys(task for task, _ in wanted))
    assert list(calls.values()) == list(dict.fromkeys(call for _, call in wanted))


@pytest.mark.parametrize("field", ["pid", "stack"])
def test_more_than_a_table_holds_at_first(field: str) -> None:
    many = 100_000
    rows = np.zeros(many, ROW)
    rows[field] = np.arange(many)
    rows = np.concatenate([rows, rows])
    numbers = Numbers(0, 0)
    both = numbers.number(rows, np.arange(many + 1, dtype=np.int32), np.zeros(len(rows), np.uint8))
    for name, numbered in zip(("pid", "stack"), both, strict=True):
        assert (numbered == (np.tile(np.arange(many), 2) if name == field else 0)).all()
