"""Placement replay: a few events whose contradictions can be counted by hand, and a whole recorded boot."""

from pathlib import Path

import pytest
from captures import folder_of

from ptpool.cli import run
from ptpool.page_events import insert_page_events
from ptpool.warehouse import capture_row, open_warehouse
from replay.validate.placement import ALLOCATED, FREE_AT_START, FREED, USED_AT_START, replay_placement

BUDDY, LRU = 1 << 10, 1 << 5


@pytest.fixture
def connection(tmp_path):
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        connection.execute(
            "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'c' AS name, 's' AS source, 'h' AS sha256, "
            "'ftrace' AS format, 4096 AS page_size, 1 AS cpus, 'unknown' AS timing, 0 AS first_ns, 9 AS last_ns, "
            "0 AS events, 0 AS lost_events, false AS has_stacks, 'v' AS code_version"
        )
        yield connection


def record(connection, events, before="", after="", counters=None, on_lists=()):
    """Events `(kind, pfn, order, comm, frames)`; page flags as a letter a page: f free, u used and plain, l on the LRU."""
    for seq, (kind, pfn, order, comm, *frames) in enumerate(events):
        connection.execute("INSERT INTO stack VALUES ('c', ?, ?, 'other', NULL, NULL)", [seq, frames])
        insert_page_events(
            connection,
            "SELECT 'c' AS capture_id, ? AS seq, ? AS ts_ns, 0 AS cpu, 1 AS pid, "
            "? AS comm, ? AS kind, ? AS pfn, ? AS page_order, ? AS stack_id",
            [seq, seq, comm, kind, pfn, order, seq],
        )
    for moment, letters in (("before", before), ("after", after)):
        for pfn, letter in enumerate(letters):
            flags = {"f": BUDDY, "u": 0, "l": LRU}[letter]
            connection.execute("INSERT INTO page_flags VALUES ('c', ?, ?, ?, ?)", [moment, pfn, pfn, flags])
    for (moment, source, name), value in (counters or {}).items():
        connection.execute("INSERT INTO snapshot_value VALUES ('c', ?, ?, ?, ?)", [moment, source, name, value])
    for cpu, pages in enumerate(on_lists):
        connection.execute("INSERT INTO pageset VALUES ('c', 'after', 0, 'Normal', ?, 'count', ?)", [cpu, pages])
    placement = replay_placement(connection, capture_row(connection, "c"))
    return placement, {(item.what, item.cause): item.pages for item in placement.contradictions}


def test_a_recording_that_adds_up_has_no_contradiction(connection):
    events = [("alloc", 0, 1, "a"), ("free", 0, 0, "a"), ("free", 3, 0, "a")]
    placement, found = record(connection, events, before="ffuu", after="fluf")
    assert found == {}
    assert placement.state.tolist() == [FREED, ALLOCATED, USED_AT_START, FREED]
    assert placement.pages_touched == 3


def test_frees_of_free_pages_by_stack_by_task_and_by_nothing(connection):
    events = [
        ("free", 0, 0, "task", "vfree", "delayed_vfree_work"),
        ("free", 1, 0, "kworker/0:1"),
        ("free", 2, 0, "kcompactd0"),
        ("free", 3, 0, "task"),
    ]
    placement, found = record(connection, events, before="ffff", after="ffff")
    what = "free of a free page"
    assert found == {(what, "bulk_allocation"): 2, (what, "compaction"): 1, (what, "unexplained"): 1}
    assert placement.unexplained == 1


def test_as_many_frees_as_the_kernel_migrated_are_compactions(connection):
    events = [("free", 0, 1, "task"), ("free", 2, 0, "task"), ("free", 3, 0, "task")]
    counters = {("before", "vmstat", "pgmigrate_success"): 5, ("after", "vmstat", "pgmigrate_success"): 6}
    _, found = record(connection, events, before="ffff", after="ffff", counters=counters)
    assert found == {("free of a free page", "compaction"): 3, ("free of a free page", "unexplained"): 1}


def test_allocations_of_pages_in_use(connection):
    events = [("alloc", 0, 0, "a"), ("alloc", 0, 0, "a"), ("alloc", 1, 0, "a"), ("alloc", 2, 0, "a")]
    _, found = record(connection, events, before="ful", after="lll")
    assert found == {
        ("allocation of a page in use", "unexplained"): 1,
        ("allocation of a page in use before the recording", "per_cpu_lists"): 1,
        ("allocation of a page in use before the recording", "before_first_event"): 1,
    }


def test_pages_freed_and_not_free_are_on_per_cpu_lists_or_vmallocs_as_far_as_those_are_counted(connection):
    events = [("alloc", 0, 2, "a"), ("free", 0, 2, "a")]
    counters = {("after", "meminfo", "VmallocUsed"): 8}
    _, found = record(connection, events, before="ffffu", after="uuuuf", counters=counters, on_lists=[1])
    what = "free by the trace, in use afterwards"
    assert found == {
        (what, "per_cpu_lists"): 1,
        (what, "bulk_allocation"): 2,
        (what, "unexplained"): 1,
        ("in use before the recording and not touched by it, free afterwards", "per_cpu_lists"): 1,
    }


def test_what_changed_after_the_last_event(connection):
    events = [("alloc", 0, 0, "a")]
    _, found = record(connection, events, before="ffl", after="flf")
    assert found == {
        ("in use by the trace, free afterwards", "after_last_event"): 1,
        ("free by the trace, in use afterwards", "after_last_event"): 1,
        ("in use before the recording and not touched by it, free afterwards", "after_last_event"): 1,
    }
    assert FREE_AT_START == 1


def test_every_contradiction_of_a_recorded_boot_has_a_known_cause(tmp_path, capsys):
    path = str(tmp_path / "boot.duckdb")
    assert run(["ingest", "trace", str(folder_of("boot-512m")), "--quiet", "--db", path]) == 0
    assert run(["replay", "validate", "--capture", "boot-512m", "--db", path]) == 0
    assert "0 unexplained" in capsys.readouterr().err
    with open_warehouse(Path(path)) as connection:
        causes = dict(connection.execute("SELECT cause, sum(pages) FROM contradiction GROUP BY cause").fetchall())
        assert connection.execute("SELECT count(*) FROM validation").fetchone() == (0,)
    assert causes["deferred_init"] == 62366  # the 60 free blocks of order 10 and 926 single pages in the trace
    assert causes["per_cpu_lists"] == 1199  # what zoneinfo counts
    assert set(causes) == {"per_cpu_lists", "bulk_allocation", "deferred_init", "reserved_memory", "before_first_event"}
