"""Strategies in rows and questions in columns: the table of the index, of a capture's page and of the mail."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ptpool.text import markdown_table, plain_markdown
from reports.formats import duration, number, percent, size

Row = dict[str, Any]

BASIS = {"measured": "●", "modelled": "○", "assumed": "◇", "": ""}
LEGEND = (
    "● counted in a real kernel, or searched exhaustively on a small machine; ○ modelled: a replay; ◇ rests on assumed "
    "prices. **✓** lowest and ✗ highest of the strategies that protect page tables, to two digits, where at most half "
    "of them share it."
)


class Column(NamedTuple):
    """A question: its heading, what the answers rest on, how they are written, and by what they are ranked."""

    heading: str
    basis: str
    said: Callable[[Row], str]
    rank: Callable[[Row], float | None] | None = None
    """Lower is better; None: not ranked."""

    @property
    def title(self) -> str:
        """The heading with the mark of its basis."""
        return f"{self.heading} {BASIS[self.basis]}".rstrip()


def marks(rows: Sequence[Row], column: Column) -> list[str]:
    """For each row ``best``, ``worst`` or nothing; today's kernel is not ranked."""
    if column.rank is None:
        return [""] * len(rows)
    values = [
        None if row["family"] == "baseline" or (v := column.rank(row)) is None else float(f"{v:.2g}") for row in rows
    ]
    known = [value for value in values if value is not None]
    ends = {"best": min(known, default=0), "worst": max(known, default=0)}
    few = {name: end for name, end in ends.items() if 2 * known.count(end) <= len(known)}
    return [next((name for name, end in few.items() if value == end), "") for value in values]


def markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The table as Markdown."""
    marked = [marks(rows, column) for column in columns]
    shown = {"best": "**✓ {}**", "worst": "✗ {}", "": "{}"}
    cells = [
        [plain_markdown(row["strategy"]),
         *(shown[mark[i]].format(plain_markdown(column.said(row))) for column, mark in zip(columns, marked, strict=True))]
        for i, row in enumerate(rows)
    ]  # fmt: skip
    right = [False] + [column.rank is not None for column in columns]
    return markdown_table(["Strategy", *(column.title for column in columns)], cells, right)


def text_cells(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[str]]:
    """The cells for a mail: ``*`` before the best, ``!`` before the worst."""
    marked = [marks(rows, column) for column in columns]
    signs = {"best": "*", "worst": "!", "": ""}
    return [
        [row["strategy"], *(signs[mark[i]] + column.said(row) for column, mark in zip(columns, marked, strict=True))]
        for i, row in enumerate(rows)
    ]


def pair(name: str, said: Callable[[float], str]) -> Callable[[Row], str]:
    """A value on a comfortable machine, and on a worn one."""

    def both(row: Row) -> str:
        shown = ["–" if row[f"{end}_{name}"] is None else said(row[f"{end}_{name}"]) for end in ("easy", "worn")]
        same_place = (row["easy_capture"], row["easy_machine"]) == (row["worn_capture"], row["worn_machine"])
        return shown[0] if same_place else " / ".join(shown)

    return both


def to(low: float | None, high: float | None, said: Callable[[float], str], missing: str = "–") -> str:
    """A range: one value where both ends read the same."""
    if low is None or high is None:
        return missing
    return said(low) if said(low) == said(high) else f"{said(low)} to {said(high)}"


def two_digits(value: float) -> str:
    """A number in two digits."""
    return number(float(f"{value:.2g}"))


def _search(row: Row) -> str:
    if row["holds"] is None:
        return "not searched" if row["family"] != "baseline" else "–"
    if row["holds"]:
        return "holds" if row["complete"] else f"holds ({row['depth']} steps)"
    return f"breaks: {row['broken_tasks']} task{'s' * (row['broken_tasks'] > 1)}, {row['broken_steps']} steps"


def _memory(row: Row) -> str:
    if row["times"] is None:
        return "not measured"
    if row["family"] == "baseline":
        return "1"
    more = "over " if row["or_more"] else ""
    span = f" ({to(row['times_low'], row['times_high'], two_digits)})" if row["times_low"] is not None else ""
    return f"{more}{two_digits(row['times'])}{span}"


def unprotected(row: Row) -> str:
    """Tables that code with access to the direct map can write to."""
    if row["family"] == "baseline":
        return "all"
    kinds = (
        ("unkeyed_page_seconds", "page·s"),
        ("unkeyed_split_tables", "split tables"),
        ("unkeyed_incidents", "briefly"),
    )
    return ", ".join(f"{number(round(row[name]))} {words}" for name, words in kinds if row[name]) or "none"


def exposure(row: Row) -> float:
    """What `unprotected` shows, to rank by: tables that stay unprotected weigh more than those open for a moment."""
    stay, split, moment = (
        row[name] or 0 for name in ("unkeyed_page_seconds", "unkeyed_split_tables", "unkeyed_incidents")
    )
    return float(stay * 1e12 + split * 1e6 + moment)


def _cpus(row: Row) -> str:
    if row["cpus_blocks"] is None and row["cpus_pages"] is None:
        return "not simulated"
    return " / ".join(
        "–" if n is None else "> 256" if n > 256 else f"{n}" for n in (row["cpus_blocks"], row["cpus_pages"])
    )


def validated(row: Row) -> str:
    """How many predictions held where a real kernel ran the strategy."""
    return "no" if row["runs"] is None else f"{row['holding']} of {row['judged']} hold"


INDEX = (
    Column("Can it run out of tables for a split?", "measured", _search, lambda row: None if row["holds"] is None else float(not row["holds"])),
    Column("Memory it wants before it fails, × today's kernel", "modelled", _memory, lambda row: row["times"]),
    Column("Large pages split", "modelled", pair("splits", number), lambda row: row["worn_splits"]),
    Column("Kernel's map in 4K pages", "modelled", pair("share", percent), lambda row: row["worn_share"]),
    Column("Memory held", "modelled", pair("held_bytes", size), lambda row: row["worn_held_bytes"]),
    Column("Key changes per page table", "modelled", lambda row: to(row["changes_least"], row["changes_most"], two_digits), lambda row: row["changes_most"]),
    Column("Time for them, per page table", "assumed", lambda row: to(row["table_ns_least"], row["table_ns_most"], duration), lambda row: row["table_ns_most"]),
    Column("CPUs at which locks cost 5 %", "assumed", _cpus, lambda row: None if row["cpus_pages"] is None else -min(row["cpus_blocks"] or 512, row["cpus_pages"])),
    Column("Tables left unprotected", "modelled", unprotected, exposure),
    Column("Checked in a real kernel", "measured", validated),
)  # fmt: skip
"""The columns of the index: rows of ``strategies.sql``."""


CAPTURE = (
    Column("Large pages split", "modelled", lambda row: to(row["splits"], row["splits"], number), lambda row: row["splits"]),
    Column("Kernel's map in 4K pages", "modelled", lambda row: to(row["share"], row["share"], percent), lambda row: row["share"]),
    Column("Memory held", "modelled", lambda row: to(row["held_bytes"], row["held_bytes"], size), lambda row: row["held_bytes"]),
    Column("Key changes", "modelled", lambda row: to(row["changes"], row["changes"], number), lambda row: row["changes"]),
    Column("Time for them, per page table", "assumed", lambda row: to(row["table_ns"], row["table_ns"], duration), lambda row: row["table_ns"]),
    Column("Slowest 1 % of page tables", "assumed", lambda row: to(row["slow_ns"], row["slow_ns"], duration), lambda row: row["slow_ns"]),
    Column("More stalls than today", "modelled", lambda row: to(row["more_stalls"], row["more_stalls"], number), lambda row: row["more_stalls"]),
    Column("Not supplied", "modelled", lambda row: to(row["failures"], row["failures"], number), lambda row: row["failures"]),
    Column("Tables left unprotected", "modelled", unprotected, exposure),
)  # fmt: skip
"""The columns of a capture's page: rows of ``capture_strategies.sql``."""
