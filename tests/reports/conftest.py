"""A synthetic warehouse: two captures, four strategies, plausible numbers, no trace behind them."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import pytest
from looks import LOOKS
from matplotlib.figure import Figure

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from replay.profiles.costs import built_in
from reports.case import Case
from reports.questions import Answers

SECOND = 1_000_000_000
FIRST, LAST = 40 * SECOND, 58 * SECOND
BLOCK = 512
RESERVES = {"reserve-block": 2, "pba": 4}
STRATEGIES = ("unprotected", "pte-mapped", *RESERVES)


def parameters(strategy: str) -> dict[str, int]:
    return {"reserve": RESERVES[strategy], "block_order": 9} if strategy in RESERVES else {}


def put(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if len(rows) > 20:
        connection.from_df(pandas.DataFrame(rows)).insert_into(table)
        return
    for row in rows:
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def add_capture(connection: duckdb.DuckDBPyConnection, name: str, arch: str, pages: int, timing: str) -> str:
    capture_id = f"id-of-{name}"
    put(
        connection,
        "capture (capture_id, name, source, sha256, format, kernel_release, arch, page_size, cpus, total_pages, clock, "
        "platform, timing, first_ns, last_ns, events, lost_events, has_stacks, code_version)",
        [
            (capture_id, name, "trace.txt.zst, before/, after/", "ab" * 32, "ftrace", "6.12.95", arch, 4096, 4,
             pages, "mono", {"real": "virtual machine", "emulated": "emulator"}.get(timing), timing, FIRST, LAST, 123_456, 12, True, "0.1.0+import"),
        ],
    )  # fmt: skip
    put(
        connection,
        "import_stat",
        [
            (capture_id, "events", "info", None, 123_456, "Events read"),
            (capture_id, "cut_off", "info", None, 0, "The trace ends in the middle of a line"),
            (capture_id, "free_never_seen", "notice", None, 2_345, "Frees of pages never seen allocated | before it"),
            (capture_id, "overrun", "data_loss", 1, 12, "Events lost by the ring buffer: use a larger one"),
        ],
    )
    return capture_id


def ranges(pages: int, level: str) -> list[tuple[int, int, str]]:
    """Mapped memory: 2M below 1 GiB, 1G above, a hole before the last quarter."""
    low = min(pages, 262_144)
    mapped = [(0, 511, "4K"), (512, low - 1, "2M")]
    if pages > low:
        mapped.append((1 << 20, (1 << 20) + pages - low - 1, "1G"))
    return [(first, last, "4K") for first, last, _ in mapped] if level == "4K" else mapped


def add_map(
    connection: duckdb.DuckDBPyConnection, run_id: str, moment: str, base: list[tuple[int, int, str]],
    split: set[int], whole: set[int], single: dict[int, int],
) -> None:  # fmt: skip
    """Write runs of pages: `split` blocks become 4K, `whole` blocks keyed whole, `single` maps block to keyed pages."""
    rows: list[tuple[Any, ...]] = []
    for first, last, leaf in base:
        at = first
        for block in sorted(b for b in split | whole | set(single) if first <= b * BLOCK <= last):
            if at < block * BLOCK:
                rows.append((run_id, moment, at, block * BLOCK - 1, leaf, False))
            end = block * BLOCK + BLOCK - 1
            here = "4K" if block in split or leaf == "4K" else "2M"
            keyed = BLOCK if block in whole else single.get(block, 0)
            if keyed:
                rows.append((run_id, moment, block * BLOCK, block * BLOCK + keyed - 1, here, True))
            if keyed < BLOCK:
                rows.append((run_id, moment, block * BLOCK + keyed, end, here, False))
            at = end + 1
        if at <= last:
            rows.append((run_id, moment, at, last, leaf, False))
    put(connection, "direct_map", rows)


def add_run(
    connection: duckdb.DuckDBPyConnection, capture_id: str, strategy: str, pages: int, *, all_4k: bool = False,
    refills: int = 31, blocks: int = 24, seed: int = 1, extra: dict[str, float | None] | None = None,
) -> str:  # fmt: skip
    rng = np.random.default_rng([seed, len(strategy), refills])
    run_id = f"{capture_id}/{strategy}"
    pool, reserve = strategy in RESERVES, RESERVES.get(strategy, 0)
    put(
        connection,
        "run (run_id, capture_id, strategy, params, is_default, machine, reclaim, costs, copies, seed, "
        "code_version, assumptions, metrics_only)",
        [(run_id, capture_id, strategy, json.dumps(parameters(strategy)), True, "recorded", "none", "built-in", 1, 0, "0.1.0+replay",
          ["no page flags: 800 page tables alive at the start, placed at random",
           *(["shadow stacks are not drawn from the pool"] if pool else [])], False)],
    )  # fmt: skip
    small = refills - blocks
    always_4k = all_4k or strategy == "pte-mapped"
    splits = 0 if always_4k else small if pool else 0
    outside = 0 if always_4k else 4
    warm_up = 3 if pool and not always_4k else 0
    share = 1.0 if always_4k else (splits + outside + warm_up + 1) * BLOCK / pages
    values: dict[str, float | None] = {
        "ptp_allocs": 18_420, "ptp_frees": 18_100, "ptp_live_start": 812, "ptp_live_peak": 9_876,
        "splits_1g": 0 if always_4k else 1, "splits_2m": splits + outside - (0 if always_4k else 1),
        "splits_warm_up": warm_up, "collapses": 0,
        "pte_share_start": 1.0 if always_4k else (warm_up + 1) * BLOCK / pages, "pte_share_end": share,
        "pte_share_mean": share if always_4k else share * 0.8, "blocks_touched": 60, "ptp_nulls": 0,
        "split_starvations": 0, "unkeyed_page_seconds": 41_000.5 if strategy == "unprotected" else 0,
        "unkeyed_incidents": 174_962 if strategy == "pte-mapped" else 0,
        "stalls": 3 if pool else 0, "oom_kills": 0, "oom_kills_by_refill": 0 if pool else None, "deadlocks": 0, "table_pages_direct_map": pages / 512 if always_4k else 40,
        "huge_blocks_free_end": 300 - (2 * blocks if pool else 0), "unplaced_allocations": 0, "extfrag_events": 51,
        "unmovable_pageblocks_end": 88, "shrunk_pages": 0 if pool else None,
        "refills": refills if pool else None, "pool_pages_peak": 12_300 if pool else None,
        "pool_idle_pages_mean": 850.25 if pool else None, "stranded_pages_mean": 512.4 if pool else None,
        "reserve_pages_min": reserve - 1 if pool else None,
        "permission_changes": {"unprotected": None, "pte-mapped": 36_520}.get(strategy, refills + 3),
        "pages_permission_changed": {"unprotected": None, "pte-mapped": 36_520}.get(strategy, blocks * 512 + small * 4),
        "tlb_flushes": {"unprotected": None, "pte-mapped": 36_520}.get(strategy, refills + splits),
        "tlb_ipis": None if all_4k or strategy == "unprotected" else 93,
        "conversion_ns": None if strategy == "unprotected" else 1_250_000.0,
        **(extra or {}),
    }  # fmt: skip
    units = dict(connection.execute("SELECT metric, unit FROM metric_glossary").fetchall())
    put(
        connection,
        "run_metric",
        [(run_id, metric, value, units.get(metric, "share")) for metric, value in values.items()],
    )
    put(
        connection,
        "run_order",
        [(run_id, 0, 110_000, 0, 0, 0, 51, 0, 0, 0, 0, 0),
         (run_id, 2, 900 + (small if pool else 0), 0, small if pool else 0, 0, 3, 1, 2 if pool else 0, 0, 0, 0),
         (run_id, 9, 40 + (refills if pool else 0), 9 + (small if pool else 0), refills if pool else 0,
          small if pool else 0, 7, 7, 7, 7, 0, 9)],
    )  # fmt: skip
    times = np.sort(rng.integers(FIRST, LAST, splits + outside))
    chosen = [int(b) for b in rng.permutation(np.arange(4, min(pages, 262_144) // BLOCK))]
    changed = chosen[: splits + outside]
    put(
        connection,
        "split",
        [(run_id, int(t), b * BLOCK, "1G" if i == 0 else "2M", "split", "outside" if i < outside else "refill")
         for i, (t, b) in enumerate(zip(times, changed, strict=True))]
        + [(run_id, FIRST - 1, b * BLOCK, "2M", "split", "warm_up") for b in chosen[100 : 100 + warm_up]],
    )  # fmt: skip
    warm = set(chosen[100 : 100 + warm_up])
    base = ranges(pages, "4K" if always_4k else "2M")
    scattered = dict.fromkeys(chosen[:60], 7)
    keyed_start = dict.fromkeys(warm, 4) | (scattered if strategy == "pte-mapped" else {})
    add_map(connection, run_id, "start", base, warm, set(), keyed_start)
    whole = set(chosen[120 : 120 + blocks]) if pool else set()
    keyed_end = keyed_start | (dict.fromkeys(changed[outside:], 4) if pool else {})
    add_map(connection, run_id, "end", base, warm | set(changed), whole, keyed_end)
    t = np.linspace(FIRST, LAST, 900).astype(np.int64)
    live = (812 + 9_064 * np.sin(np.linspace(0, 3.1, 900)) ** 2).round()
    series = {"ptp_live": live, "pte_pages": np.linspace(share / 2, share, 900) * pages, "free_pages": 60_000 - live}
    if pool:
        held = np.maximum.accumulate(np.ceil((live + 8) / BLOCK) * BLOCK)
        idle = held - live
        series |= {
            "pool_held": held,
            "pool_idle": idle,
            "reserve_low": np.maximum(idle - rng.integers(0, 40, 900), reserve - 1),
        }
    rows = [
        (run_id, int(when), metric, float(v)) for metric, vs in series.items() for when, v in zip(t, vs, strict=True)
    ]
    put(connection, "timeline", rows)
    if pool:
        put(connection, "incident", [(run_id, FIRST + 3 * SECOND, 2, "oom_kill", 2, "refill of order 2 found nothing")])
    return run_id


def write_pair(path: Path) -> None:
    """One x86-64 capture that separates the strategies, one arm64 capture whose map is all 4K."""
    with open_warehouse(path, write=True) as connection:
        known = [(name, "title", "source", json.dumps(parameters(name)), *LOOKS[name]) for name in STRATEGIES]
        put(connection, "strategy", known)
        constants = built_in().constants
        put(connection, "cost_constant",
            [("built-in", arch, name, c.low, c.typical, c.high, c.source) for arch in constants
             for name, c in constants[arch].items()])  # fmt: skip
        server = add_capture(connection, "server", "x86_64", 1_048_576, "emulated")
        phone = add_capture(connection, "phone", "aarch64", 262_144, "real")
        for strategy in STRATEGIES:
            more = strategy == "pba"
            add_run(connection, server, strategy, 1_048_576, refills=58 if more else 31, blocks=24,
                    extra={"pte_share_kernel_end": 0.02, "pte_share_activity": 0.4})  # fmt: skip
            add_run(connection, phone, strategy, 262_144, all_4k=True, refills=12, blocks=10)


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "pair.duckdb"
    write_pair(path)
    return path


@pytest.fixture(scope="session")
def report(warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "report"
    assert run(["report", "build", "--db", str(warehouse), "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def case(tmp_path: Path) -> Iterator[tuple[Case, duckdb.DuckDBPyConnection]]:
    """A capture of which only the name is known, and its warehouse, open for writing."""
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        connection.execute(
            "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'c' AS name, 's' AS source, 'h' AS sha256, "
            "'ftrace' AS format, 4096 AS page_size, 1 AS cpus, 'unknown' AS timing, 0 AS first_ns, 9 AS last_ns, "
            "0 AS events, 0 AS lost_events, false AS has_stacks, 'v' AS code_version"
        )
        yield Case({"name": "c"}, {}, answers=Answers(connection, capture="c")), connection


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are laid out but not written: most of a report's time."""
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda _: None)
    monkeypatch.setattr(Figure, "savefig", lambda _, out, **how: out.write(how["format"].encode()))


@pytest.fixture
def saying(warehouse: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A warehouse whose recordings and runs say this text wherever they can say anything."""

    def write(text: str) -> Path:
        db = tmp_path / "w.duckdb"
        shutil.copy(warehouse, db)
        with open_warehouse(db, write=True) as connection:
            connection.execute("UPDATE capture SET kernel_release = ?, arch = ?, source = ?, clock = ?", [text] * 4)
            connection.execute("UPDATE import_stat SET explanation = ?", [text])
            connection.execute("UPDATE run SET assumptions = [?]", [text])
        return db

    return write


@pytest.fixture
def only_capture() -> Callable[[Path], None]:
    """Write a warehouse with a capture that was never replayed."""

    def write(path: Path) -> None:
        with open_warehouse(path, write=True) as connection:
            add_capture(connection, "lonely", "x86_64", 65_536, "real")

    return write
