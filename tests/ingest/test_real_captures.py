"""Recordings against counts that an independent script made (their STATS.txt)."""

import re
from collections.abc import Callable

import pytest
from captures import folder_of

pytestmark = pytest.mark.slow

TABLES = {  # pgd, pud, pmd, pte (copy_huge_pmd deposits among them), huge-page deposits, kernel pte, direct-map splits
    "boot-512m": (201, 402, 404, 861, 0, 6, 8),
    "oom-256m": (325, 892, 1126, 1575, 28, 0, 0),
    "server-16g": (549, 1633, 2214, 9859, 520, 35, 29),
    "sharedmem-8g": (1762, 3533, 7098, 59260, 1, 25, 0),
    "sharedmem-frag-1g": (139, 289, 440, 31312, 0, 0, 0),  # STATS.txt, pairing stacks by adjacency, misses 35 of pte
}


@pytest.mark.parametrize("name", TABLES)
def test_counts(name: str, ingest: Callable[..., int], query: Callable[..., list[tuple[int, ...]]]) -> None:
    assert ingest(folder_of(name)) == 0
    stats = (folder_of(name) / "STATS.txt").read_text()
    kinds = dict(query("SELECT kind::VARCHAR, count(*) FROM page_event GROUP BY ALL"))
    for ours, theirs in {"alloc": "alloc", "free": "free", "zone_locked": "alloc_zone_locked"}.items():
        if match := re.search(rf"'{theirs}': (\d+)", stats):
            assert kinds[ours] + (kinds.get("alloc_failed", 0) if ours == "alloc" else 0) == int(match[1])
    unknown = re.search(r"free events without alloc (\d+)", stats)
    assert unknown is not None
    found = dict(query("SELECT name, value FROM import_stat"))
    assert found["frees_unknown"] + found["frees_from_snapshot"] == int(unknown[1])
    assert found["allocs_without_stack"] == 0
    assert (
        sum(
            found[n]
            for n in ("frees_exact", "frees_unknown", "frees_from_snapshot", "frees_of_part", "frees_of_several")
        )
        == kinds["free"]
    )
    assert tables(query) == TABLES[name]
    assert query(
        "SELECT bool_and(seq = place) FROM (SELECT seq, row_number() OVER () - 1 AS place FROM page_event)"
    ) == [(True,)]


def test_native(ingest: Callable[..., int], query: Callable[..., list[tuple[object, ...]]]) -> None:
    """Recorded with a real clock, where nothing but the CPU's flags says so; the counts are its README.txt's."""
    assert ingest(folder_of("native-postgres")) == 0
    assert query("SELECT arch, cpus, platform, timing, clock, lost_events FROM capture") == [
        ("x86_64", 2, "virtual machine", "real", "mono", 0)
    ]
    assert query("SELECT count(*) FILTER (level IS NOT NULL AND kind = 'alloc') FROM page_event") == [(36_574,)]


def test_kernel_stacks(ingest: Callable[..., int], query: Callable[..., list[tuple[int, ...]]]) -> None:
    """Allocated in bulk without an event, freed four pages at a time by vfree's worker."""
    assert ingest(folder_of("server-16g") / "perf.script.txt.zst") == 0
    assert query("SELECT kind, count(*), count(DISTINCT frames[-1]) FROM page_event JOIN stack USING (stack_id)"
                 " WHERE page_event.consumer = 'kstack' GROUP BY ALL") == [("free", 4 * 2204, 1)]  # fmt: skip
    assert query("SELECT value FROM import_stat WHERE name = 'kernel_stacks_freed'") == [(4 * 2204,)]


def tables(query: Callable[..., list[tuple[int, ...]]]) -> tuple[int, ...]:
    (row,) = query("""
        SELECT count(*) FILTER (level = 'pgd'), count(*) FILTER (level = 'pud'), count(*) FILTER (level = 'pmd'),
               count(*) FILTER (level = 'pte' AND page_event.consumer = 'pgtable_user' AND NOT anonymous),
               count(*) FILTER (level = 'pte' AND anonymous),
               count(*) FILTER (level = 'pte' AND page_event.consumer = 'pgtable_kernel'),
               count(*) FILTER (page_event.consumer = 'direct_map_split')
        FROM (SELECT page_event.*, coalesce(page_event.role = 'deposited' AND list_contains(frames, 'do_huge_pmd_anonymous_page'), false) AS anonymous
              FROM page_event JOIN stack USING (capture_id, stack_id) WHERE kind = 'alloc') page_event""")
    return row


def test_snapshots(ingest: Callable[..., int], query: Callable[..., list[tuple[object, ...]]]) -> None:
    assert ingest(folder_of("server-16g")) == 0
    assert query("SELECT arch, page_size, cpus, total_pages, timing, lost_events FROM capture") == [
        ("x86_64", 4096, 4, 3998 + 520150 + 3670016, "emulated", 0)
    ]
    assert query(
        "SELECT zone, start_pfn, spanned, wmark_min, protection FROM zone WHERE moment = 'before' AND managed > 0"
    ) == [
        ("DMA", 1, 4095, 15, [0, 1930, 15984, 15984, 15984]),
        ("DMA32", 4096, 1044480, 2032, [0, 0, 14053, 14053, 14053]),
        ("Normal", 1048576, 3670016, 14847, [0, 0, 0, 0, 0]),
    ]
    assert query(
        "SELECT zone, list(value ORDER BY cpu) FROM pageset WHERE moment = 'before' AND name = 'count' GROUP BY zone ORDER BY zone"
    ) == [("DMA", [0, 0, 0, 0]), ("DMA32", [0, 510, 0, 0]), ("Normal", [4304, 2993, 3627, 3667])]
    assert query("SELECT count(*) FROM snapshot_value WHERE name LIKE '%cpu %'") == [(0,)]
    assert query(
        "SELECT moment::VARCHAR, value FROM snapshot_value WHERE name = 'direct_map_level2_splits' ORDER BY ALL"
    ) == [("after", 33), ("before", 5)]
    assert query(
        "SELECT sum(blocks) FROM free_blocks WHERE moment = 'before' AND zone = 'Normal' AND migratetype IS NULL AND page_order = 10"
    ) == [(3392,)]
    assert query(
        "SELECT sum(blocks) FROM free_blocks WHERE moment = 'before' AND zone = 'Normal' AND migratetype = 'Movable' AND page_order = 10"
    ) == [(3392,)]
    assert query("SELECT blocks FROM pageblocks WHERE moment = 'before' AND zone = 'Normal' ORDER BY migratetype") == [
        (298,),
        (6864,),
        (6,),
        (0,),
        (0,),
    ]
    ((gaps, first, last),) = query("""
        SELECT count(*) FILTER (first_pfn <> coalesce(before + 1, 0)), min(first_pfn), max(last_pfn)
        FROM (SELECT *, lag(last_pfn) OVER (ORDER BY first_pfn) AS before FROM page_flags WHERE moment = 'before')""")
    assert (gaps, first, last) == (0, 0, 4718591)
    assert query("SELECT first_pfn, last_pfn FROM memory_range WHERE name = 'System RAM' ORDER BY ALL") == [
        (1, 0x9E),
        (0x100, 0x7FFD5),
        (0x100000, 0x47FFFF),
    ]
    ((tables_alive,),) = query(
        "SELECT sum(last_pfn - first_pfn + 1) FROM page_flags WHERE moment = 'before' AND flags & (1 << 26) <> 0"
    )
    assert query(
        "SELECT value FROM snapshot_value WHERE moment = 'before' AND source = 'vmstat' AND name = 'nr_page_table_pages'"
    ) == [(tables_alive,)]
    assert tables_alive == 193
