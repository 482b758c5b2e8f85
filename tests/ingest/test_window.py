"""The page flags at the start of a window, and pages that no machine has."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ingest.ownership import PageOwners, class_code
from ingest.trace import MAX_PFN, ROW
from ptpool.vocabulary import KIND_ALLOC

Query = Callable[..., list[tuple[object, ...]]]
CAPTURES = Path(__file__).parents[2] / "data" / "captures"
LRU, BUDDY, NOPAGE, PGTABLE, SLAB = 1 << 5, 1 << 10, 1 << 20, 1 << 26, 1 << 7
TABLE, HUGE, OTHER = ("__pte_alloc", 0), ("do_anonymous_page", 1), ("alloc_slab_page", 2)


def event(ms: int, what: tuple[str, int] | None, pfn: int, order: int = 0) -> str:
    head = f"            bash-1977    [000] d..2.    17.{ms:03}000: "
    if what is None:
        return f"{head}mm_page_free: page=00000000b13f5c46 pfn={pfn:#x} order={order}\n"
    function, migratetype = what
    return (
        f"{head}mm_page_alloc: page=00000000b13f5c46 pfn={pfn:#x} order={order} migratetype={migratetype}"
        f" gfp_flags=GFP_KERNEL\n{head}<stack trace>\n => __alloc_pages_noprof\n => {function}\n"
    )


def bundle(tmp_path: Path) -> Path:
    (tmp_path / "it" / "before").mkdir(parents=True)
    (tmp_path / "it" / "trace.txt").write_text(
        event(0, TABLE, 1)
        + event(1, TABLE, 2, order=1)
        + event(2, HUGE, 4, order=2)
        + event(3, OTHER, 8)
        + event(4, None, 3)  # half of the order-1 table
        + event(5, None, 9)  # a page table of before
        + event(6, TABLE, 0x1000)  # beyond the snapshot
        + event(7, TABLE, 14, order=2)  # half of it beyond the snapshot
        + event(100, TABLE, 10)
        + event(101, None, 1)
        + event(200, TABLE, 11)
    )
    flags = [NOPAGE, *[BUDDY] * 8, PGTABLE, PGTABLE, BUDDY, SLAB, LRU, BUDDY, BUDDY]
    np.array(flags, "<u8").tofile(tmp_path / "it" / "before" / "kpageflags")
    return tmp_path / "it"


ROLLED = [NOPAGE, PGTABLE, PGTABLE, BUDDY, *[LRU] * 4, 0, BUDDY, PGTABLE, BUDDY, SLAB, LRU, PGTABLE, PGTABLE]


def page_flags(query: Query) -> list[int]:
    runs = query("SELECT first_pfn, last_pfn, flags FROM page_flags WHERE moment = 'before' ORDER BY first_pfn")
    return [int(flags) for first, last, flags in runs for _ in range(int(first), int(last) + 1)]


def test_page_flags_are_those_of_the_start_of_the_window(
    tmp_path: Path, ingest: Callable[..., int], query: Query
) -> None:
    it = bundle(tmp_path)
    assert ingest(it, "--from", "50ms", "--to", "150ms") == 0
    assert page_flags(query) == ROLLED
    assert query("SELECT list(pfn ORDER BY seq), any_value(level) FROM page_event") == [([10, 1], "pte")]
    assert query("SELECT value FROM import_stat WHERE name = 'snapshots_outside_window'") == [(0,)]


def test_without_from_they_are_as_recorded(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    it = bundle(tmp_path)
    assert ingest(it, "--to", "150ms") == 0
    assert page_flags(query) == np.fromfile(it / "before" / "kpageflags", "<u8").tolist()


def test_snapshots_of_another_time_are_said(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    it = bundle(tmp_path)
    (it / "after").mkdir()
    for moment in ("before", "after"):
        (it / moment / "vmstat").write_text("nr_page_table_pages 7\n")
    said = {}
    for window in ("", "--from=50ms", "--to=50ms", "--from=50ms --to=150ms", "--from=0s --to=9s"):
        assert ingest(it, *window.split(), "--replace") == 0
        ((said[window],),) = query("SELECT value FROM import_stat WHERE name = 'snapshots_outside_window'")
    assert list(said.values()) == [0, 1, 1, 2, 0]


def test_against_a_count_of_the_trace(ingest: Callable[..., int], query: Query) -> None:
    """What kpageflags says at first, and what of the trace's tables is alive half a second later."""
    name = CAPTURES / "sharedmem-frag-1g"
    assert ingest(name) == 0
    alive = {pfn for pfn, flags in enumerate(page_flags(query)) if flags & PGTABLE}
    assert len(alive) == 404
    for kind, pfn, order, table in query(
        """SELECT kind, pfn, page_order, coalesce(consumer IN ('pgtable_user', 'pgtable_kernel'), false) FROM page_event
           WHERE ts_ns < (SELECT first_ns FROM capture) + 500_000_000 AND kind IN ('alloc', 'free') ORDER BY seq"""
    ):
        pages = range(int(pfn), int(pfn) + (1 << int(order)))
        (alive.update if kind == "alloc" and table else alive.difference_update)(pages)
    assert ingest(name, "--from", "500ms", "--to", "1500ms", "--replace") == 0
    assert {pfn for pfn, flags in enumerate(page_flags(query)) if flags & PGTABLE} == alive
    assert len(alive) == 11_109


def test_memory_does_not_follow_the_highest_page() -> None:
    rows = np.zeros(2, ROW)
    rows["kind"], rows["pfn"] = KIND_ALLOC, (1, MAX_PFN - 1)
    pages = PageOwners()
    pages.follow(rows, np.full(2, class_code("other", None, None), np.uint8), 0, 1)
    assert pages.states.nbytes < 1 << 20


def test_pages_beyond_the_machine(tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    it = bundle(tmp_path)
    assert ingest(it) == 0
    assert query("SELECT * FROM import_stat WHERE name = 'events_beyond_memory'") == []  # its size is not known
    (it / "before" / "zoneinfo").write_text(
        "Node 0, zone      DMA\n  pages free     3\n        spanned  4095\n  start_pfn:           1\n"
        "Node 0, zone  Movable\n  pages free     0\n        spanned  0\n  start_pfn:           0\n"
    )
    assert ingest(it, "--replace") == 0
    assert query("SELECT severity, value FROM import_stat WHERE name = 'events_beyond_memory'") == [("notice", 1)]
