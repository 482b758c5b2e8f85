"""``report text``: one capture in plain text of at most 76 columns, to paste into a mail."""

import duckdb

from reports.case import Case, load_case
from reports.page import machine, recorded
from reports.render import render
from reports.sections import mapping_cost, risk
from reports.sections.answer import answer, failed
from reports.sections.differences import differences
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
}
"""Metrics of the table, with their headings."""

_LEGEND = (
    "1G, 2M: leaves of the direct map split at run time; at 4K: share of the direct map, averaged over time; idle: "
    "pages cached in the pool, averaged over time; changes: calls that set or clear a key; failed: page tables not "
    "supplied, starved splits, deadlocks, calls of the OOM killer; n/a: not applicable."
)


def mail(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The report of one capture as plain text.

    Args:
        connection: an open warehouse.
        name: a capture with at least one run at default parameters.
    """
    case = load_case(connection, name)
    paragraphs = (f"{machine(case)}. {recorded(case)}", " ".join(answer(case)), " ".join(details(case)))
    rows = [
        [strategy, *(metric_cell(case, strategy, m, case.value(strategy, m)) for m in _COLUMNS), failed(case, strategy)]
        for strategy in case.metrics
    ]
    return render(
        "mail.txt.j2",
        title=f"{name}: direct-map splits and pools of page tables",
        paragraphs=[wrapped(_plain(text)) for text in paragraphs],
        table="\n".join(columns_of_text(["strategy", *_COLUMNS.values(), "failed"], rows, WIDTH)),
        legend=wrapped(_LEGEND),
        differences=[wrapped(_plain(f"{names}: {account}"), indent="* ") for names, account in differences(case)],
        cost=wrapped(_plain(mapping_cost.caption(case))),
        notes=[wrapped(f"[{i}] {_plain(text)}") for i, text in enumerate(_notes(case), start=1)],
    )


def _notes(case: Case) -> list[str]:
    notes = [timing(case), quality(case), mapping_cost.basis(case), *risk.sentences(case)]
    for row in case.answers["assumptions"].records():
        which = "" if row["strategies"] == "all" else f"({row['strategies']}) "
        notes.append(f"{which}{row['assumption'].rstrip('.')}.")
    (run, *_) = case.answers["provenance"].records()
    return [*notes, f"Recording SHA-256 {case.capture['sha256'][:16]}..., replayed by ptpool {run['replayed_by']}."]


def _plain(text: str) -> str:
    """ASCII without Markdown."""
    return text.translate(str.maketrans("µ·", "u*", "*`"))
