"""The seam between formats and warehouse: a format reads a trace into batches of rows and the names they number.

The module of a format has ``open_trace(paths, context)``, which gives a `Trace`; ingest/load.py stores it. What all
formats share is here, the compiled helpers are in ingest/spans.py.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptpool.errors import UsageError

ROW_GROUP = 122_880  # rows of a DuckDB row group
BATCH = 4 * ROW_GROUP
"""Rows of a full batch: smaller ones cost speed, larger ones memory."""

MAX_CPUS = 8192  # NR_CPUS of the largest x86 configuration
MAX_TASKS = 1 << 22  # PID_MAX_LIMIT (include/linux/threads.h)
MAX_PFN = 1 << 40  # 52 physical address bits
PAGE_SIZES = tuple(1 << shift for shift in range(12, 19))  # bytes: 4K to 256K (arch/*/Kconfig: HAVE_PAGE_SIZE_*)
MAX_ORDER = 20  # gigantic folios are of order 18
CONTEXTS = 4  # task, softirq, hardirq, NMI: a CPU's events nest no deeper
OTHER_EVENT, STORED = -1, -2  # in a table of the rows that wait for their stack: no stack is wanted; the row is stored
KIND_BATCHED = 100  # an event that repeats mm_page_free: not stored, so not one of ptpool.vocabulary.KINDS

ROW = np.dtype(
    [
        ("ts", np.int64),  # ns
        ("pfn", np.int64),  # -1: none
        ("pid", np.int32),
        ("comm", np.int32),  # number in Trace.comms
        ("gfp", np.int32),  # number in Trace.gfps; -1: none
        ("stack", np.int32),  # number in Trace.stacks; -1: none
        ("cpu", np.int16),
        ("kind", np.int8),  # as in ptpool.vocabulary
        ("order", np.int8),
        ("migratetype", np.int8),  # -1: none
    ]
)
"""An event read and not yet stored."""


def raw(rows: NDArray[np.void]) -> NDArray[np.void]:
    """The same rows as plain bytes: numpy copies and picks those twenty times faster than it does field by field."""
    return rows.view(np.dtype((np.void, rows.dtype.itemsize)))


ALWAYS_COUNTED = (
    "damaged_lines",
    "damaged_compression",
    "cut_off",
    "stacks_without_event",
    "batched_frees_skipped",
    "other_events",
    "user_frames_dropped",
    "events_without_cpu",
    "events_without_time",
    "events_without_task",
)
"""Counts of `Findings` that are stored even where they are zero."""

_COMMENTS = 200  # comment lines kept: the headers have some dozens


@dataclass(frozen=True)
class Context:
    """What a reader may need apart from the trace."""

    best_effort: bool = False  # count damage and use the rest, instead of refusing the file
    kallsyms: Path | None = None  # the symbols of the recorded kernel, where the bundle has them


@dataclass
class Findings:
    """What reading a trace found, apart from its events."""

    best_effort: bool = False  # as in Context
    first_ns: int = -1  # time of the first entry, whatever it is; the window counts from it; -1: not known yet
    comments: list[str] = field(default_factory=list)  # as perf script --header and ftrace write them: # arch : x86_64
    page_size: int | None = None  # bytes, of the recorded machine, where the trace says it
    lost: dict[int | None, int] = field(default_factory=dict)  # events, as the recorder says, by CPU (None: unknown)
    uncounted: Counter[int | None] = field(default_factory=Counter)  # losses of unknown size, likewise
    overwritten: int = 0  # entries that the header says were recorded and are not in the file; `lost` is part of them
    counts: Counter[str] = field(default_factory=Counter)  # by name in ingest/quality.toml

    def comment(self, line: str) -> None:
        """Keep a comment line."""
        if len(self.comments) < _COMMENTS:
            self.comments.append(line)

    def pages_of(self, size: int) -> None:
        """Note the page size that a header has, if a machine can have it."""
        if size in PAGE_SIZES:
            self.page_size = size

    def lose(self, cpu: int | None, events: int) -> None:
        """Count events lost."""
        self.lost[cpu] = self.lost.get(cpu, 0) + events

    def damage(self, name: str, what: str) -> None:
        """Count damage, by its name in ingest/quality.toml.

        Raises:
            UsageError: it is not --best-effort.
        """
        self.counts[name] += 1
        if not self.best_effort:
            raise UsageError(what, "copy it again, or use what can be read with --best-effort")


class Trace(Protocol):
    """One trace being read: batches of events in order of time, and the names that they number."""

    comms: list[str]
    """Names of tasks, by number; this and the next two only grow."""
    gfps: list[str]
    """GFP flags as the kernel prints them (``GFP_KERNEL|__GFP_ZERO``), by number."""
    stacks: list[tuple[str, ...]]
    """Kernel frames, innermost first, without those of the tracer (ingest.classify), by number; they may repeat."""
    found: Findings

    def batches(self) -> Iterator[NDArray[Any]]:
        """Arrays of `ROW`, at best `BATCH` long.

        An array is overwritten when the next one is asked for. It may be empty, to show progress.

        Raises:
            UsageError: the trace is damaged (without --best-effort), or cannot be what it claims to be.
        """

    def consumed(self) -> int:
        """Bytes of the files read so far, for progress."""

    def close(self) -> None:
        """Close the files; it may be called at any time."""
