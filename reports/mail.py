"""``report text``: one capture in plain text of at most 76 columns, to paste into a mail."""

import duckdb
import pandas as pd

from reports.case import Case, load_case
from reports.page import machine, recorded
from reports.render import render
from reports.sections import risk
from reports.sections.answer import answer, failed
from reports.sections.differences import differences
from reports.sections.mapping_cost import basis, mapping_short
from reports.sections.quality import quality, timing
from reports.sections.verdict import details
from reports.tables import columns_of_text, metric_cell, wrapped

WIDTH = 76

_COLUMNS = {
    "refills": "refills",
    "splits_1g": "1G",
    "splits_2m": "2M",
    "pte_share_mean": "at 4K",
    "pool_idle_pages_mean": "idle",
    "permission_changes": "changes",
    "failed": "failed",
}
"""Columns of the table: a metric, or ``failed`` for all that could not be supplied; and what stands above it."""

_LEGEND = (
    "1G, 2M: leaves of the direct map split at run time; at 4K: share of the direct map, averaged over time; idle: "
    "pages cached in the pool, averaged over time; changes: calls that set or clear a key; failed: page tables and "
    "splits that could not be supplied, deadlocks, calls of the OOM killer; n/a: not applicable."
)


def mail(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The report of one capture as plain text.

    Args:
        connection: an open warehouse.
        name: a capture with at least one default policy run.
    """
    case = load_case(connection, name)
    return render(
        "mail.txt.j2",
        title=f"{name}: direct-map splits and pools of page tables",
        paragraphs=[
            wrapped(_plain(text))
            for text in (f"{machine(case)}. {recorded(case)}", " ".join(answer(case)), " ".join(details(case)))
        ],
        table="\n".join(columns_of_text(_summary(case), WIDTH)),
        legend=wrapped(_LEGEND),
        differences=[wrapped(_plain(f"{who}: {account}"), indent="* ") for who, account in differences(case)],
        cost=wrapped(_plain(mapping_short(case))),
        notes=[wrapped(f"[{i}] {_plain(text)}", indent="") for i, text in enumerate(_notes(case), start=1)],
    )


def _summary(case: Case) -> pd.DataFrame:
    shown: dict[str, list[str]] = {"strategy": list(case.metrics)}
    for metric, heading in _COLUMNS.items():
        shown[heading] = [_cell(case, strategy, metric) for strategy in case.metrics]
    return pd.DataFrame(shown, dtype=object)


def _cell(case: Case, strategy: str, metric: str) -> str:
    if metric == "failed":
        return failed(case, strategy)
    return metric_cell(case, strategy, metric, case.value(strategy, metric)).removesuffix(", by construction")


def _notes(case: Case) -> list[str]:
    notes = [timing(case), quality(case), basis(case), *risk.sentences(case)[:3]]
    for row in case.answers["assumptions"].records():
        whose = "" if row["strategies"] == "all" else f"({row['strategies']}) "
        notes.append(f"{whose}{row['assumption'].rstrip('.')}.")
    runs = case.answers["provenance"].records()
    notes.append(f"Recording SHA-256 {case.capture['sha256'][:16]}..., replayed by ptpool {runs[0]['replayed_by']}.")
    return notes


def _plain(text: str) -> str:
    """ASCII without Markdown."""
    for rich, plain in (("**", ""), ("`", ""), ("µ", "u"), ("·", "*")):
        text = text.replace(rich, plain)
    return text
