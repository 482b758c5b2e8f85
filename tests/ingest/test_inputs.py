"""Inputs that people have: each bundle of inputs/ is imported right, or says what is unknown."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from inputs import bundle_of

Query = Callable[[str], Sequence[tuple[Any, ...]]]

STATS = "SELECT name, value FROM import_stat WHERE value > 0 AND name = '{}'"
MACHINE = "SELECT arch, page_size, total_pages FROM capture"

RIGHT: dict[str, dict[str, Any]] = {  # case: query, rows
    "14-meminfo-wrapped-counter": {
        "SELECT name, value FROM snapshot_value WHERE moment = 'before' AND value < 0 ORDER BY name": [
            ("CmaFree", -4), ("VmallocUsed", -4),
        ],
    },
    "16-iomem-kmem": {
        "SELECT sum(last_pfn - first_pfn + 1) FROM memory_range WHERE name = 'System RAM'": [(4194164,)],
    },
    "18-max-order-13": {
        "SELECT max_order, pageblock_order FROM capture": [(13, 9)],
        """SELECT sum(blocks << page_order) FROM free_blocks WHERE moment = 'before' AND migratetype IS NULL
           AND page_order = 13""": [((59 + 424) << 13,)],
    },
    "20-pagetypeinfo-block-order": {
        "SELECT max_order, pageblock_order FROM capture": [(10, 10)],
        "SELECT zone, blocks FROM pageblocks WHERE moment = 'before' AND migratetype = 'Unmovable' ORDER BY zone": [
            ("DMA", 2), ("DMA32", 1), ("Normal", 149),
        ],
        STATS.format("pageblocks_of_another_size"): [("pageblocks_of_another_size", 8194)],
    },
    "21-pagetypeinfo-reserve": {
        """SELECT migratetype, sum(blocks) FROM pageblocks WHERE moment = 'before' GROUP BY ALL
           ORDER BY migratetype""": [("Unmovable", 303), ("Movable", 7883), ("Reclaimable", 6), ("Isolate", 0)],
        STATS.format("unknown_snapshot_lines"): [("unknown_snapshot_lines", 3)],
    },
    "22-meminfo-hugepages-rsvd": {
        "SELECT value FROM snapshot_value WHERE moment = 'before' AND name = 'HugePages_Rsvd'": [(-2,)],
    },
    "23-android-16k-pages": {
        MACHINE: [("aarch64", None, None)],
        STATS.format("page_size_unknown"): [("page_size_unknown", 1)],
    },
    "25-ppc64le-64k": {MACHINE: [("ppc64le", None, None)]},
    "26-riscv64": {MACHINE: [("riscv64", 4096, 2097152)]},
    "27-s390x-addresses": {
        MACHINE: [("s390x", 4096, None)],
        "SELECT count(stack_id) FROM page_event WHERE kind = 'alloc'": [(975,)],
        STATS.format("user_frames_dropped"): [],
    },
    "29-uname-android": {"SELECT arch, kernel_release FROM capture": [("aarch64", "4.14.117-perf")]},
    "32-zoneinfo-nameless-counter": {
        "SELECT zone, present FROM zone WHERE moment = 'before' AND present > 0 ORDER BY start_pfn": [
            ("DMA", 3998), ("DMA32", 520150), ("Normal", 3670016),
        ],
        STATS.format("unknown_snapshot_lines"): [("unknown_snapshot_lines", 1)],
    },
    "39-migratetype-before-4.4": {
        """SELECT migratetype, count(*) FROM page_event WHERE gfp_text LIKE '%MOVABLE%' AND kind = 'alloc'
           GROUP BY ALL""": [(1, 684)],
        STATS.format("migratetypes_doubtful"): [],
    },
    "44-kpageflags-without-pgtable": {STATS.format("page_tables_not_marked"): [("page_tables_not_marked", 193)]},
}  # fmt: skip

TABLES = {"39-migratetype-before-4.4": 186}
"""Page tables that the import recognises, where there are not 199."""


@pytest.mark.parametrize("case", RIGHT)
def test_an_input_is_read_right(case: str, tmp_path: Path, ingest: Callable[..., int], query: Query) -> None:
    assert ingest(bundle_of(case, tmp_path)) == 0
    assert query("SELECT events FROM capture") == [(1200,)]
    tables = (
        "SELECT count(*) FROM page_event WHERE kind = 'alloc' AND regexp_matches(consumer::VARCHAR, 'pgtable|split')"
    )
    assert query(tables) == [(TABLES.get(case, 199),)]
    for sql, rows in RIGHT[case].items():
        assert query(sql) == rows, sql


HUGE = "9" * 5000
DAMAGED = {  # file: (text, what the message says)
    "before/vmstat": (f"nr_free_pages 1\nnr_mapped {HUGE}\n", "line 2: nr_mapped 999"),
    "before/meminfo": (f"MemTotal: {1 << 64} kB\n", "line 1: MemTotal: 18446744073709551616 kB"),
    "before/buddyinfo": (f"Node 0, zone DMA {HUGE}\n", "line 1: Node 0, zone DMA 999"),
    "before/pagetypeinfo": ("Node 99999999999999999999, zone DMA, type Movable 1\n", "line 1: Node 999"),
    "before/zoneinfo": (f"Node 0, zone DMA\n  pages free 1\n    cpu: {HUGE}\n", "line 3: cpu: 999"),
    "iomem": (f"00001000-{'f' * 17} : System RAM\n", "line 1: 00001000-fff"),
    "ring_stats": (f"== cpu0\noverrun: {HUGE}\n", "line 2: overrun: 999"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_number_of_more_than_64_bits_is_named_by_file_and_line(
    name: str, tmp_path: Path, ingest: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    text, says = DAMAGED[name]
    bundle = bundle_of("29-uname-android", tmp_path)
    (bundle / "uname").write_text("Linux host 6.12.0 #1 SMP x86_64 GNU/Linux\n")
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text(text)
    assert ingest(bundle) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) <= 3
    assert f"{name}: not a " in error
    assert says in error
