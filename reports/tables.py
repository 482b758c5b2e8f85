"""Tables: answers of the warehouse as Markdown and as aligned plain text."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ptpool.text import aligned_line, markdown_table, plain_markdown
from reports.case import Case
from reports.formats import cell
from reports.questions import Answer

_HEADINGS = {
    "cpus_at_1_us": "CPUs, change of 1 µs",
    "cpus_at_10_us": "CPUs, change of 10 µs",
    "cpus_at_100_us": "CPUs, change of 100 µs",
    "held_by_16_bytes": "held by 16 CPUs",
    "held_by_64_bytes": "held by 64 CPUs",
    "held_by_256_bytes": "held by 256 CPUs",
    "from_1_us": "that take 1 µs or more",
    "mapping_cost_pct_low": "cost, low",
    "mapping_cost_pct_median": "cost, median",
    "mapping_cost_pct_high": "cost, high",
    "mapping_cost_basis": "figures of",
    "mapping_cost_pct_by_bytes": "cost by bytes",
    "mapping_cost_pct_by_kernel_memory": "cost by the kernel's memory",
    "mapping_cost_pct_by_activity": "cost by allocations",
    "pmd_share_end": "in 2M pages, end",
    "pud_share_lost": "of 1G pages, lost",
    "table_ns": "key changes, per page table",
    "table_bytes": "memory of the map's tables",
    "pte_share_kernel_end": "kernel's memory at 4K, end",
    "pte_share_activity": "allocations at 4K",
    "ptp_allocs": "page tables allocated",
    "ptp_live_peak": "pages of page tables, peak",
    "ptp_nulls": "page tables not supplied",
    "pages_keyed": "pages with the key",
    "pages_keyed_4k": "of them at 4K",
    "ptp_alloc_p50_ns": "median",
    "ptp_alloc_p99_ns": "99 % take at most",
    "ptp_alloc_p999_ns": "99.9 % take at most",
    "split_starvations": "splits without a protected table",
    "unkeyed_page_seconds": "page·s of unprotected tables",
    "oom_kills_by_refill": "OOM kills by refills",
    "splits_1g": "1G splits",
    "splits_2m": "2M splits",
    "splits_warm_up": "splits before the first event",
    "pte_share_start": "at 4K, start",
    "pte_share_end": "at 4K, end",
    "pte_share_mean": "at 4K, mean",
    "table_pages_direct_map": "pages of direct-map tables",
    "huge_blocks_free_delta_vs_unprotected": "free 2M blocks, against today's kernel",
    "pool_idle_pages_mean": "idle pages, mean",
    "stranded_pages_mean": "idle among pages in use, mean",
}
"""Headings of columns whose names read badly; CSV files and glossary keep the names."""

_UNITS = re.compile("_(ns|s|pct|bytes)$")

_SPLITS = {"splits_1g", "splits_2m", "splits_warm_up"}


@dataclass(frozen=True)
class Table:
    """A table of a report."""

    markdown: str
    empty: bool = False


def frame(answer: Answer) -> pd.DataFrame:
    """The rows as pandas keeps them for figures: numbers as numbers, NULL as missing."""
    return pd.DataFrame(list(answer.rows), columns=list(answer.columns))


def table(answer: Answer, *cases: Case) -> Table:
    """An answer as a Markdown table; a metric that is NULL, or that means nothing on this machine, gives the reason.

    Args:
        answer: what to show; with several cases, its column ``capture`` names the one that a row belongs to.
        cases: where the reasons come from.
    """
    by_name = {case.capture["name"]: case for case in cases}
    rows = []
    for record in answer.records():
        case = by_name.get(record.get("capture", "")) or (cases[0] if len(cases) == 1 else None)
        strategy = record.get("strategy")
        if case and strategy in case.metrics:
            rows.append([metric_cell(case, strategy, *item) for item in record.items()])
        else:
            rows.append([cell(*item) for item in record.items()])
    right = [
        any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in answer.rows)
        for i in range(len(answer.columns))
    ]
    cells = [[plain_markdown(text) for text in row] for row in rows]
    return Table(markdown_table([heading(c) for c in answer.columns], cells, right), not rows)


def heading(column: str) -> str:
    """A column's name in words, so that narrow columns can break it."""
    return _HEADINGS.get(column, _UNITS.sub("", column).replace("_", " "))


def metric_cell(case: Case, strategy: str, column: str, value: object) -> str:
    """A metric of a strategy, or why there is none."""
    if column in _SPLITS and case.all_4k:
        return "n/a"
    if case.family(strategy) == "baseline" and column == "unkeyed_page_seconds":
        return "all, no key"
    if value is not None:
        return cell(column, value)
    if column.startswith("ptp_alloc_p"):
        return "too few samples"
    if column.startswith("mapping_cost_pct"):
        return "not measured"
    return "n/a" if column in case.metrics[strategy] else ""


def columns_of_text(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Aligned text, the first column to the left and the rest to the right.

    Columns that do not fit into `width` go into further blocks, each with the first column again.
    """
    first, *widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines: list[str] = []
    done = 0
    while done < len(widths):
        end = done + 1
        while end < len(widths) and first + sum(2 + wide for wide in widths[done : end + 1]) <= width:
            end += 1
        block, right = [first, *widths[done:end]], [False] + [True] * (end - done)
        shown = [aligned_line([row[0], *row[done + 1 : end + 1]], block, right) for row in (columns, *rows)]
        lines += [*([""] if done else []), shown[0], "-" * (sum(block) + 2 * (end - done)), *shown[1:]]
        done = end
    return lines


def wrapped(text: str, width: int = 76, indent: str = "") -> str:
    """A paragraph of plain text for a mail."""
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
    )
