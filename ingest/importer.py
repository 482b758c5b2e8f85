"""Import of one capture: its trace, snapshots, stacks and data quality, in one transaction."""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from ingest.bundle import MOMENTS, Bundle
from ingest.load import EventStream, Kernel, Window, insert_arrow
from ingest.ownership import OUTCOMES, PageOwners, class_code
from ingest.quality import Stat, stat
from ingest.snapshots import free_lists, machine, proc
from ingest.snapshots.architecture import architecture_of
from ingest.snapshots.page_tables import page_tables
from ingest.snapshots.permission_changes import PermissionChanges, read_changes
from ingest.trace import ALWAYS_COUNTED, Context, Findings
from ptpool.arrow import pa
from ptpool.errors import UsageError
from ptpool.progress import progress
from ptpool.provenance import code_version, identity, sha256_of, source_hash
from ptpool.releases import numbers_of
from ptpool.text import printable
from ptpool.vocabulary import KPF_PGTABLE, MIGRATETYPES
from ptpool.warehouse import delete_capture, transaction


@dataclass(frozen=True)
class Imported:
    """The result of an import."""

    capture_id: str
    name: str
    unchanged: bool


def import_capture(
    connection: duckdb.DuckDBPyConnection,
    bundle: Bundle,
    *,
    window: Window = (None, None),
    best_effort: bool = False,
    replace: bool = False,
    quiet: bool = False,
) -> Imported:
    """Import a bundle into an open warehouse.

    Args:
        connection: a warehouse open for writing.
        bundle: the files.
        window: which part of the trace to keep.
        best_effort: count damage and use the rest, instead of refusing the file.
        replace: drop another capture of the same name, with everything computed from it.
        quiet: no progress.

    Raises:
        UsageError: the input cannot be used, or another capture has its name. The warehouse is unchanged.
    """
    existing = connection.execute("SELECT capture_id FROM capture WHERE name = ?", [bundle.name]).fetchone()
    with ThreadPoolExecutor(1) as pool:  # hashing takes as long as reading: do both at once
        digest = pool.submit(sha256_of, bundle.files)

        def capture_id() -> str:
            return identity(
                name=bundle.name,
                sha256=digest.result(),
                window=window,
                best_effort=best_effort,
                code=source_hash("ingest", "ptpool"),
            )

        if existing is not None:
            if existing[0] == capture_id():
                return Imported(existing[0], bundle.name, unchanged=True)
            if not replace:
                raise UsageError(
                    f"{bundle.name}: another capture has this name, read from other bytes or by another ptpool",
                    "give a different --name, or replace it and its replays with --replace",
                )
        named = pool.submit(capture_id)
        with transaction(connection):
            if existing is not None:
                delete_capture(connection, existing[0])
            _Import(connection, bundle, named, best_effort).run(window, digest, quiet)
        return Imported(named.result(), bundle.name, unchanged=False)


class _Import:
    def __init__(
        self, connection: duckdb.DuckDBPyConnection, bundle: Bundle, capture_id: "Future[str]", best_effort: bool
    ) -> None:
        self._connection, self._bundle, self._named, self._best_effort = connection, bundle, capture_id, best_effort
        self._pages = PageOwners()
        self._damaged_snapshots = self._passed_over = 0
        self._types: dict[str, proc.PageTypes] = {}  # by moment
        self._values: dict[tuple[str, str], int] = {}  # (source, name) to value of the first moment there is
        self._cpus: int | None = None  # that have a pageset
        self._free_lists: Counter[str] = Counter()  # what checking them counted; empty where there are none

    def run(self, window: Window, digest: "Future[str]", quiet: bool) -> None:
        bundle = self._bundle
        files = {name: path.read_text(errors="replace") for name, path in bundle.machine.items()}
        self._read_page_types()
        trace = bundle.format.open_trace(bundle.traces, Context(self._best_effort, bundle.kallsyms))

        def kernel() -> Kernel:
            known = machine.identify(files, trace.found.comments)
            family = architecture_of(known.arch)
            return known.kernel_release, family.machines[0] if family else known.arch

        stream = EventStream(self._connection, trace, self._named, self._pages, kernel, self._numbers)
        total = sum(path.stat().st_size for path in self._bundle.traces)
        with progress(f"reading {self._bundle.name}", total, quiet=quiet, unit="bytes") as meter:
            flags = {moment: self._page_flags(moment) for moment in MOMENTS}
            self._seed(flags["before"])
            if window[0] is not None and flags["before"] is not None:
                first, last, before = flags["before"]
                stream.page_flags = np.repeat(before, last - first + 1)
            with closing(trace):
                stream.read(meter, window)
            if stream.page_flags is not None:
                flags["before"] = proc.runs_of([stream.page_flags])
        if not stream.stored:
            other = trace.found.counts["other_events"]
            held = "none in the window" if sum(stream.outside.values()) else f"{other:,} other events"
            raise UsageError(
                f"{self._bundle.traces[0]}: it has no page-allocation events ({held})",
                "record kmem:mm_page_alloc and kmem:mm_page_free, with stacks; check --from and --to",
            )
        for moment in MOMENTS:
            self._store_page_flags(moment, flags[moment])
            others = self._store_snapshots(moment, flags[moment], kernel())
            if not stream.outside[moment]:  # else the lists are of another time than the window's edge
                self._store_free_lists(moment, others)
        changes = read_changes(files.get("permission_changes", ""), self._memory_end() or 0)
        self._store_permission_changes(stream, changes)
        self._store_stacks(stream)
        recorded = self._machine(files, trace.found, stream)
        self._insert("snapshot_value", [("before", "cpuinfo", *row) for row in machine.midr(files.get("cpuinfo", ""))])
        self._store_iomem(recorded.page_size)
        for moment in MOMENTS:
            self._store_direct_map(moment, recorded.page_size)
        losses = _losses(trace.found, self._ring_losses())
        self._store_stats(stream, trace.found, losses, changes, self._of_snapshots(stream, flags["before"], recorded))
        self._insert(
            "capture",
            [
                (
                    self._bundle.name,
                    ", ".join(printable(path.name) for path in self._bundle.traces),
                    digest.result(),
                    self._bundle.format.name,
                    *astuple(recorded),
                    stream.first_ns,
                    stream.last_ns,
                    stream.stored,
                    sum(losses.values()),
                    bool(stream.frames),
                    *stream.edges,
                    code_version(),
                )
            ],
        )

    # ------------------------------------------------------------------------------------------------- snapshots

    def _read(self, moment: str, source: str, reader: Any) -> Any:
        """The rows of one snapshot file; None where there is none (or, with best effort, a damaged one)."""
        path = self._bundle.snapshots.get((moment, source))
        return None if path is None else self._parsed(path, reader)

    def _parsed(self, path: Path, reader: Any) -> Any:
        try:
            return proc.parse(path, reader)
        except UsageError:
            if not self._best_effort:
                raise
            self._damaged_snapshots += 1
            return None

    def _lines(self, path: Path, parse: Any) -> Any:
        """What a parser of text makes of a file; the lines that it passes over are counted."""
        lines = proc.Lines(proc.read_text(path))
        result = parse(lines)
        self._passed_over += lines.passed
        return result

    def _read_page_types(self) -> None:
        for moment in MOMENTS:
            found = self._read(moment, "pagetypeinfo", lambda path: self._lines(path, proc.pagetypeinfo))
            if found is not None:
                self._types[moment] = found

    def _numbers(self, release: str | None) -> NDArray[np.int8]:
        """The migratetype of each of the kernel's numbers + 128: by pagetypeinfo's columns, else by its release."""
        recorded = next((types.names for types in self._types.values()), [])
        names = recorded if set(recorded) >= set(MIGRATETYPES[:3]) else numbers_of(release).migratetypes
        numbers = np.full(256, -1, np.int8)
        numbers[128 : 128 + len(names)] = [MIGRATETYPES.index(name) if name in MIGRATETYPES else -1 for name in names]
        return numbers

    def _machine(self, files: dict[str, str], found: Findings, stream: EventStream) -> machine.MachineFacts:
        """What is recorded of the machine."""
        functions = {frame for frames in stream.frames for frame in frames}
        recorded = machine.describe(
            files, self._values, self._cpus, found.comments, page_size=found.page_size, functions=functions
        )
        recorded.cpus = recorded.cpus or stream.highest_cpu + 1
        recorded.max_order = self._connection.execute(
            "SELECT max(page_order) FROM free_blocks WHERE capture_id = ?", [self._named.result()]
        ).fetchall()[0][0]
        recorded.pageblock_order = next((types.block_order for types in self._types.values()), None)
        return recorded

    def _ring_losses(self) -> dict[int, int]:
        path = self._bundle.machine.get("ring_stats")
        return (path and self._parsed(path, lambda path: self._lines(path, machine.ring_losses))) or {}

    def _page_flags(self, moment: str) -> Any:
        return self._read(moment, "kpageflags", proc.page_flag_runs)

    def _seed(self, runs: Any) -> None:
        """Give the pages of page tables that were alive before the recording their owner."""
        if runs is not None:
            first, last, flags = runs
            tables = flags & np.uint64(1 << KPF_PGTABLE) != 0
            self._pages.seed(first[tables], last[tables], class_code("pgtable_user", None, None))

    def _store_page_flags(self, moment: str, runs: Any) -> None:
        if runs is not None:
            first, last, flags = runs
            runs = pa.table({"first": first, "last": last, "flags": flags})
            insert_arrow(self._connection, "page_flags", runs, self._named.result(), moment)

    def _store_snapshots(self, moment: str, flags: Any, kernel: Kernel) -> free_lists.Machine:
        def text(parse: Any) -> Any:
            return lambda path: self._lines(path, parse)

        buddyinfo = self._read(moment, "buddyinfo", text(proc.buddyinfo)) or []
        self._insert("free_blocks", [(moment, *row) for row in buddyinfo])
        found = self._types.get(moment) or proc.PageTypes([], [], [], None)
        self._insert("free_blocks", [(moment, *row) for row in found.free])
        self._insert("pageblocks", [(moment, *row) for row in found.blocks])
        zones, pagesets = self._read(moment, "zoneinfo", text(proc.zoneinfo)) or ([], [])
        self._insert("pageset", [(moment, *row) for row in pagesets])
        self._cpus = max([self._cpus or 0, *(row[2] + 1 for row in pagesets)]) or None
        vmstat = self._read(moment, "vmstat", text(proc.vmstat)) or []
        known = architecture_of(kernel[1])
        bits = known.bits if known else 64
        meminfo = self._read(moment, "meminfo", text(lambda lines: proc.meminfo(lines, bits))) or []
        for source, rows in (("zoneinfo", zones), ("vmstat", vmstat), ("meminfo", meminfo)):
            self._insert("snapshot_value", [(moment, source, *row) for row in rows])
            for name, value in rows:
                self._values.setdefault((source, name), value)
        types = {number: name for number, name in enumerate(found.names) if name in MIGRATETYPES}
        cpus = max((row[2] + 1 for row in pagesets), default=None)
        return free_lists.Machine(free_lists.zones_of(zones), types, cpus, buddyinfo, flags)

    def _store_free_lists(self, moment: str, others: free_lists.Machine) -> None:
        rows = self._read(moment, "free_lists", free_lists.read_rows)
        notes = self._read(moment, "free_lists.json", free_lists.read_notes) or free_lists.Notes()
        if rows is None:
            return
        lists = free_lists.check(rows, notes, others)
        self._free_lists.update(lists.counts)
        for table, found in (("free_list", lists.table()), ("pageblock_type", lists.pageblock_table())):
            insert_arrow(self._connection, table, found, self._named.result(), moment)

    def _store_iomem(self, page_size: int | None) -> None:
        path = self._bundle.machine.get("iomem")
        if path and page_size:
            rows = self._parsed(path, lambda path: self._lines(path, lambda lines: proc.iomem(lines, page_size)))
            self._insert("memory_range", rows or [])

    def _store_direct_map(self, moment: str, page_size: int | None) -> None:
        (first_ram,) = self._connection.execute(
            "SELECT min(first_pfn) FROM memory_range WHERE capture_id = ? AND name = 'System RAM'",
            [self._named.result()],
        ).fetchall()[0]

        def leaves(path: Path) -> proc.Rows:
            return page_tables(proc.read_text(path), page_size, first_ram)

        if rows := self._read(moment, "page_tables", leaves):
            self._insert("direct_map_recorded", [(moment, *row) for row in rows])

    # ------------------------------------------------------------------------------------------ stacks and counts

    def _store_stacks(self, stream: EventStream) -> None:
        rows = [(number, list(frames), *stream.classes[number]) for number, frames in enumerate(stream.frames)]
        self._insert("stack", rows)

    def _store_permission_changes(self, stream: EventStream, found: PermissionChanges) -> None:
        since, until = stream.edges
        rows = [
            (*astuple(change)[:-1], stream.stack_id(change.frames) if change.frames else None)
            for change in found.changes
            if (since is None or change.ts_ns >= since) and (until is None or change.ts_ns <= until)
        ]
        self._insert("permission_change", rows)

    def _store_stats(
        self,
        stream: EventStream,
        found: Findings,
        losses: dict[int | None, int],
        changes: PermissionChanges,
        of_snapshots: dict[str, int],
    ) -> None:
        totals = stream.totals
        values = {
            **dict.fromkeys(ALWAYS_COUNTED, 0),
            **found.counts,
            **of_snapshots,
            **dict(zip(OUTCOMES, self._pages.outcomes.tolist(), strict=True)),
            "permission_changes_lost": changes.lost,
            "permission_changes_unplaced": changes.unplaced,
            "damaged_snapshots": self._damaged_snapshots,
            **self._free_lists,
            **stream.counts,
            "events_outside_window": sum(stream.outside.values()),
            "snapshots_outside_window": self._snapshots_outside(stream),
            "unknown_gfp_words": len(stream.unknown_gfp),
            "gfp_numbers_assumed": stream.numbers_assumed,
            "gfp_numbers_unknown": stream.numbers_unknown,
            "no_frees": int(not totals["frees"]),
            "no_allocations": int(not totals["allocations"]),
            "no_snapshots": int(not self._bundle.snapshots),
        }
        if stream.frames:
            values["allocs_without_stack"] = stream.without_stack
        else:
            values["no_stacks"] = stream.without_stack
        lost = bool(losses or found.uncounted)
        rows: list[Stat] = [stat(name, value, totals, lost=lost) for name, value in values.items()]
        for name, by_cpu in (("lost_events", losses), ("uncounted_losses", found.uncounted)):
            rows += [stat(name, n, totals, cpu) for cpu, n in sorted(by_cpu.items(), key=lambda item: str(item[0]))]
        if not losses:
            rows.append(stat("lost_events", 0, totals))
        if (memory_end := self._memory_end()) is not None:
            rows.append(stat("events_beyond_memory", self._events_from(memory_end), totals))
        self._insert("import_stat", rows)

    def _of_snapshots(self, stream: EventStream, flags: Any, recorded: machine.MachineFacts) -> dict[str, int]:
        """Counts of what snapshots have and ptpool does not know, and of what they leave unknown; none is zero."""
        known = architecture_of(recorded.arch)
        blocks = sum(n for types in self._types.values() for *_, n in types.blocks)
        other_blocks = known is not None and recorded.pageblock_order not in (None, _pmd_order(recorded.page_size))
        mapped = len([1 for _, source in self._bundle.snapshots if source == "page_tables"])
        mapped += "iomem" in self._bundle.machine
        release = recorded.kernel_release  # a kernel that marks page tables may have had none that were to be shown
        marked = flags is None or bool((flags[2] & np.uint64(1 << KPF_PGTABLE)).any())
        marked |= release is not None and numbers_of(release).tables_marked
        counts = {
            "unknown_snapshot_lines": self._passed_over,
            "migratetypes_unknown": stream.migratetypes_unknown,
            "migratetypes_doubtful": stream.migratetypes_doubtful,
            "page_size_unknown": int(
                recorded.page_size is None and (known is not None or bool(self._bundle.snapshots))
            ),
            "memory_map_left_out": mapped if recorded.page_size is None else 0,
            "pageblocks_of_another_size": blocks if other_blocks else 0,
            "page_tables_not_marked": 0 if marked else self._values.get(("vmstat", "nr_page_table_pages"), 0),
        }
        return {name: count for name, count in counts.items() if count}

    def _snapshots_outside(self, stream: EventStream) -> int:
        """How many moments have snapshots of another time than the window's edge; page flags are brought forward."""
        kept_up = {("before", "kpageflags")} if stream.page_flags is not None else set()
        return len({moment for moment, _ in self._bundle.snapshots.keys() - kept_up if stream.outside[moment]})

    def _memory_end(self) -> int | None:
        """The page after the machine's last one; None where no snapshot says it."""
        return proc.memory_end({name: n for (source, name), n in self._values.items() if source == "zoneinfo"})

    def _events_from(self, pfn: int) -> int:
        beyond = "SELECT count(*) FROM page_event WHERE capture_id = ? AND pfn >= ?"
        return int(self._connection.execute(beyond, [self._named.result(), pfn]).fetchall()[0][0])

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        """Insert rows that lack their capture_id, which is every table's first column."""
        if not rows:
            return
        names = [f"c{i}" for i in range(len(rows[0]))]
        batch = pa.table([_array(column) for column in zip(*rows, strict=True)], names=names)
        insert_arrow(self._connection, table, batch, self._named.result())


def _pmd_order(page_size: int | None) -> int | None:
    """log2 of the pages that a table maps, whose entries have eight bytes."""
    return None if page_size is None else page_size.bit_length() - 4


def _losses(found: Findings, ring: dict[int, int]) -> dict[int | None, int]:
    """Events lost by CPU: by the trace, by ring_stats, or by what its header leaves unexplained."""
    lost: dict[int | None, int] = {cpu: n for cpu, n in found.lost.items() if n}
    for cpu, n in ring.items():  # the same losses, counted by the kernel: the larger count holds
        if n > lost.get(cpu, 0):
            lost[cpu] = n
    if found.overwritten > sum(lost.values()):
        lost[None] = lost.get(None, 0) + found.overwritten - sum(lost.values())
    return lost


def _array(column: tuple[Any, ...]) -> pa.Array:
    """Values as Arrow; masks of page-table entries use bit 63."""
    try:
        return pa.array(column)
    except OverflowError:
        return pa.array(column, pa.uint64())
