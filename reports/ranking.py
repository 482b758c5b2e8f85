"""Strategies in rows and questions in columns: the table of the index, of a capture's page and of the mail."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from ptpool.text import markdown_table, plain_markdown
from reports.formats import count, duration, number, percent, size

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
    """For each row ``best``, ``worst`` or nothing; today's kernel is not ranked, and what failed is never best."""
    if column.rank is None:
        return [""] * len(rows)
    found: list[float | None] = [None if row["family"] == "baseline" else column.rank(row) for row in rows]
    values = [None if value is None else float(f"{value:.2g}") for value in found]
    known = [value for value in values if value is not None]
    sound = [value for row, value in zip(rows, values, strict=True) if value is not None and not row["failures"]]
    if len(set(known)) < 2 or not sound:
        return [""] * len(rows)
    few = {
        name: end for name, end in (("best", min(sound)), ("worst", max(known))) if 2 * known.count(end) <= len(known)
    }
    return [
        next((name for name, end in few.items() if value == end and (name == "worst" or not row["failures"])), "")
        for row, value in zip(rows, values, strict=True)
    ]


def markdown(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """The table as Markdown."""
    marked = [marks(rows, column) for column in columns]
    shown = {"best": "**✓ {}**", "worst": "✗ {}", "": "{}"}
    cells = [
        [plain_markdown(row["strategy"]),
         *(shown[mark[i]].format(plain_markdown(column.said(row)))
           for column, mark in zip(columns, marked, strict=True))]
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
        shown = ["-" if row[f"{end}_{name}"] is None else said(row[f"{end}_{name}"]) for end in ("easy", "worn")]
        same_place = (row["easy_capture"], row["easy_machine"]) == (row["worn_capture"], row["worn_machine"])
        return shown[0] if same_place else " / ".join(shown)

    return both


def to(low: float | None, high: float | None, said: Callable[[float], str], missing: str = "-") -> str:
    """A range: one value where both ends read the same."""
    if low is None or high is None:
        return missing
    return said(low) if said(low) == said(high) else f"{said(low)} to {said(high)}"


def two_digits(value: float) -> str:
    """A number in two digits."""
    return number(float(f"{value:.2g}"))


BREAKS = {
    "split_starvation": "can run out",
    "deadlock": "can deadlock",
    "lost_page": "can lose a page",
    "unkeyed_table": "can leave a table open",
}
"""What goes wrong, by the kind in table ``strategy_check``."""


def way(row: Row) -> str:
    """How many tasks and steps it takes to break a strategy."""
    others = " and others" if row["broken_with_others"] else ""
    return f"{count(row['broken_tasks'], 'task')}{others}, {row['steps']} steps"


def _search(row: Row) -> str:
    if row["family"] == "baseline":
        return "-"
    if row["holds"] is None:
        return "not searched"
    return f"holds ({row['depth']} steps)" if row["holds"] else f"{BREAKS[row['kind']]}: {way(row)}"


def _trouble(row: Row) -> float | None:
    return None if row["holds"] is None else 0.0 if row["holds"] else 1.0 + (row["kind"] != "unkeyed_table")


def _memory(row: Row) -> str:
    if row["times"] is None:
        return "not measured"
    if row["family"] == "baseline":
        return "1"
    more = "over " if row["or_more"] else ""
    span = f" ({to(row['times_low'], row['times_high'], two_digits)})" if row["times_low"] is not None else ""
    return f"{more}{two_digits(row['times'])}{span}"


_OPEN = ("unkeyed_page_seconds", "unkeyed_split_tables", "unkeyed_incidents")


def unprotected(row: Row) -> str:
    """Tables that code with access to the direct map can write to."""
    if row["family"] == "baseline":
        return "all"
    kinds = zip(_OPEN, ("page·s", "split tables", "briefly"), strict=True)
    return ", ".join(f"{number(round(row[name]))} {words}" for name, words in kinds if row[name]) or "none"


def exposure(row: Row) -> float:
    """What `unprotected` shows, to rank by: tables that stay unprotected weigh more than those open for a moment."""
    stay, split, moment = (row[name] or 0 for name in _OPEN)
    return float(stay * 1e12 + split * 1e6 + moment)


def _cpus(row: Row) -> str:
    if row["cpus_blocks"] is None and row["cpus_pages"] is None:
        return "not simulated"
    return " / ".join(
        "-" if n is None else "> 256" if n > 256 else f"{n}" for n in (row["cpus_blocks"], row["cpus_pages"])
    )


def validated(row: Row) -> str:
    """How many predictions held where a real kernel ran the strategy."""
    return "no" if row["runs"] is None else f"{row['holding']} of {row['judged']} hold"


def _range(name: str, said: Callable[[float], str]) -> Callable[[Row], str]:
    return lambda row: to(row[f"{name}_least"], row[f"{name}_most"], said)


def _value(name: str, said: Callable[[float], str]) -> Callable[[Row], str]:
    return lambda row: to(row[name], row[name], said)


def _failures(row: Row) -> str:
    kills = count(row["kills"], "kill")
    return f"{_value('not_supplied', number)(row)}{f', {kills}' if row['kills'] else ''}"


def _locks(row: Row) -> float | None:
    return None if row["cpus_pages"] is None else -min(row["cpus_blocks"] or 512, row["cpus_pages"])


INDEX = (
    Column("Can it run out of tables for a split?", "measured", _search, _trouble),
    Column("Memory it wants before it fails, today's kernel = 1", "modelled", _memory, itemgetter("times")),
    Column("Tables not supplied", "modelled", pair("failures", number), itemgetter("worn_failures")),
    Column("Large pages split", "modelled", pair("splits", number), itemgetter("worn_splits")),
    Column("Kernel's map in 4K pages", "modelled", pair("share", percent), itemgetter("worn_share")),
    Column("Memory held", "modelled", pair("held_bytes", size), itemgetter("worn_held_bytes")),
    Column("Key changes per page table", "modelled", _range("changes", two_digits), itemgetter("changes_most")),
    Column("Time for them, per page table", "assumed", _range("table_ns", duration), itemgetter("table_ns_most")),
    Column("CPUs at which locks cost 5 %", "assumed", _cpus, _locks),
    Column("Tables left unprotected", "modelled", unprotected, exposure),
    Column("Checked in a real kernel", "measured", validated),
)
"""The columns of the index: rows of ``strategies.sql``."""


CAPTURE = (
    Column("Large pages split", "modelled", _value("splits", number), itemgetter("splits")),
    Column("Kernel's map in 4K pages", "modelled", _value("share", percent), itemgetter("share")),
    Column("Memory held", "modelled", _value("held_bytes", size), itemgetter("held_bytes")),
    Column("Key changes", "modelled", _value("changes", number), itemgetter("changes")),
    Column("Time for them, per page table", "assumed", _value("table_ns", duration), itemgetter("table_ns")),
    Column("Slowest 1 % of page tables", "assumed", _value("slow_ns", duration), itemgetter("slow_ns")),
    Column("More stalls than today", "modelled", _value("more_stalls", number), itemgetter("more_stalls")),
    Column("Not supplied", "modelled", _failures, itemgetter("failures")),
    Column("Tables left unprotected", "modelled", unprotected, exposure),
)
"""The columns of a capture's page: rows of ``capture_strategies.sql``."""
