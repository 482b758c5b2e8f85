"""``report text``: one capture in plain text of at most 76 columns, to paste into a mail."""

import duckdb
import pandas as pd

from reports import cost, findings
from reports.case import Case, load_case
from reports.page import machine, recorded
from reports.render import render
from reports.sections.answer import answer
from reports.tables import columns_of_text, metric_cell, wrapped

WIDTH = 76

_ROWS = (
    "ptp_live_peak",
    "refills",
    "block_failures",
    "splits_1g",
    "splits_2m",
    "splits_warm_up",
    "pte_share_end",
    "pte_share_mean",
    "pool_pages_peak",
    "pool_idle_pages_mean",
    "reserve_pages_min",
    "permission_changes",
    "tlb_flushes",
    "ptp_nulls",
    "split_starvations",
    "stalls",
    "oom_kills",
)

_SHORT = {"not applicable": "n/a", "not modelled yet": "-", "0, by construction": "0*", "all, no key": "all"}


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
        paragraphs=[wrapped(_plain(text)) for text in (f"{machine(case)}. {recorded(case)}", *answer(case))],
        table="\n".join(columns_of_text(_summary(case), WIDTH)),
        differences=[wrapped(_plain(f"{who}: {account}"), indent="* ") for who, account in findings.differences(case)],
        cost="\n".join(wrapped(_plain(line), indent="* ") for line in cost.mapping(case)),
        notes=[wrapped(f"[{i}] {_plain(text)}", indent="") for i, text in enumerate(_notes(case), start=1)],
    )


def _summary(case: Case) -> pd.DataFrame:
    shown: dict[str, list[str]] = {"metric": list(_ROWS)}
    for strategy in case.metrics:
        cells = [metric_cell(case, strategy, metric, case.value(strategy, metric)) for metric in _ROWS]
        shown[strategy] = [_SHORT.get(cell, cell) for cell in cells]
    return pd.DataFrame(shown, dtype=object)


def _notes(case: Case) -> list[str]:
    cells = {cell for strategy in case.metrics for cell in
             (metric_cell(case, strategy, metric, case.value(strategy, metric)) for metric in _ROWS)}  # fmt: skip
    notes = [cost.timing(case), cost.quality(case), cost.basis(case)]
    keys = [
        f"{_SHORT[cell]} is {cell}"
        for cell in ("not applicable", "not modelled yet", "0, by construction")
        if cell in cells
    ]
    notes += [f"In the table: {'; '.join(keys)}."] if keys else []
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
