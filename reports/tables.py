"""Tables: answers of the warehouse shaped by pandas into Markdown and into aligned plain text."""

import textwrap
from dataclasses import dataclass

import pandas as pd

from reports.case import Case
from reports.formats import cell
from reports.questions import Answer

_HEADINGS = {
    "ptp_allocs": "page tables allocated",
    "ptp_live_peak": "pages of page tables, peak",
    "ptp_nulls": "page tables not supplied",
    "splits_1g": "1G splits",
    "splits_2m": "2M splits",
    "splits_warm_up": "splits before the first event",
    "table_pages_direct_map": "pages of direct-map tables",
}
"""Columns that read badly as they are called; the CSV files and the glossary keep the names."""

_SPLITS = {"splits_1g", "splits_2m", "splits_warm_up"}


@dataclass(frozen=True)
class Table:
    """A table as it stands in a report, and where it comes from."""

    name: str
    markdown: str
    sql: str
    empty: bool = False


def frame(answer: Answer) -> pd.DataFrame:
    """The rows as pandas keeps them for figures: numbers as numbers, NULL as missing."""
    return pd.DataFrame(list(answer.rows), columns=list(answer.columns))


def table(answer: Answer, *cases: Case) -> Table:
    """An answer as a Markdown table; a metric that is NULL, or that says nothing on this machine, says why.

    Args:
        answer: what to show; with several cases, its column ``capture`` says which one a row belongs to.
        cases: where the reasons come from.
    """
    shown = _shaped(answer, {case.capture["name"]: case for case in cases})
    return Table(answer.name, markdown(shown, _right(answer)), answer.sql, empty=shown.empty)


def _shaped(answer: Answer, cases: dict[str, Case]) -> pd.DataFrame:
    rows = []
    for record in answer.records():
        case = cases.get(record.get("capture", "")) or (next(iter(cases.values())) if len(cases) == 1 else None)
        if case and record.get("strategy") in case.metrics:
            rows.append([metric_cell(case, record["strategy"], *item) for item in record.items()])
        else:
            rows.append([cell(*item) for item in record.items()])
    return pd.DataFrame(rows, columns=[heading(column) for column in answer.columns], dtype=object)


def heading(column: str) -> str:
    """A column's name in words, so that narrow columns can break it."""
    return _HEADINGS.get(column, column.replace("_", " "))


def metric_cell(case: Case, strategy: str, column: str, value: object) -> str:
    """A metric of a strategy, or why there is none."""
    if column in _SPLITS and case.all_4k:
        return "n/a"
    if column in _SPLITS and strategy == "pte-mapped" and value == 0:
        return "0, by construction"
    if column == "unkeyed_page_seconds" and case.family(strategy) == "baseline":
        return "all, no key"
    if value is not None:
        return cell(column, value)
    if column.startswith("ptp_alloc_p"):
        return "too few samples"
    if column.startswith("mapping_cost_pct"):
        return "not measured"
    return case.missing(strategy, column) if column in case.described else ""


def _right(answer: Answer) -> list[bool]:
    return [
        any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in answer.rows)
        for i in range(len(answer.columns))
    ]


def markdown(shown: pd.DataFrame, right: list[bool]) -> str:
    """A frame of strings as a Markdown table."""
    lines = ["| " + " | ".join(map(_escaped, shown.columns)) + " |",
             "|" + "|".join(" ---: " if r else " --- " for r in right) + "|"]  # fmt: skip
    lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in shown.itertuples(index=False)]
    return "\n".join(lines)


def _escaped(text: object) -> str:
    return (
        str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("_", "\\_")
    )


def columns_of_text(shown: pd.DataFrame, width: int) -> list[str]:
    """A frame of strings as aligned text: the first column to the left, the rest to the right.

    Columns that do not fit side by side go into further blocks, each with the first column again.
    """
    label, *rest = list(shown.columns)
    first = max([len(label), *shown[label].str.len()])
    lines: list[str] = []
    while rest:
        block: list[tuple[str, int]] = []
        used = first
        while rest:
            wide = max([len(rest[0]), *shown[rest[0]].str.len()]) + 2
            if block and used + wide > width:
                break
            block.append((rest.pop(0), wide))
            used += wide
        lines.append((label.ljust(first) + "".join(name.rjust(wide) for name, wide in block)).rstrip())
        lines.append("-" * used)
        lines += [
            (row[label].ljust(first) + "".join(row[name].rjust(wide) for name, wide in block)).rstrip()
            for row in shown.to_dict("records")
        ]
        lines.append("")
    return lines[:-1]


def wrapped(text: str, width: int = 76, indent: str = "") -> str:
    """A paragraph of plain text for a mail."""
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
    )
