"""``report text``: one capture in plain text of at most 76 columns, to paste into a mail."""

import duckdb

from reports import ranking
from reports.answers import replies
from reports.case import Case, load_case
from reports.questions import Answers
from reports.render import render
from reports.summary import answer, elsewhere, machine, recorded, trust
from reports.tables import columns_of_text, wrapped

WIDTH = 76
_COLUMNS = {
    "Large pages split": "splits",
    "Kernel's map in 4K pages": "at 4K",
    "Memory held": "held",
    "Key changes": "changes",
    "Time for them, per page table": "per table",
    "Not supplied": "failed",
}
"""Columns of `ranking.CAPTURE` that fit, with their headings here."""

_LEGEND = (
    "splits: large pages of the direct map split at run time; at 4K: share of the direct map, mean over time; held: "
    "unused memory in the pool, and tables of the direct map beyond today's; changes: calls that set or clear a key, "
    "and per table the time they take at assumed prices; failed: page tables not supplied, splits without a protected "
    "table, deadlocks, OOM kills. All modelled. * lowest and ! highest of the strategies that protect page tables."
)


def mail(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The report of one capture as plain text.

    Args:
        connection: an open warehouse.
        name: a capture with at least one run at default parameters.
    """
    case = load_case(connection, name)
    columns = [column for column in ranking.CAPTURE if column.heading in _COLUMNS]
    cells = ranking.text_cells(case.answers["capture_strategies"].records(), columns)
    table = columns_of_text(["strategy", *_COLUMNS.values()], [[_plain(cell) for cell in row] for row in cells], WIDTH)
    asked = replies(Answers(connection))
    return render(
        "mail.txt.j2",
        title=f"{name}: which way of supplying protected page tables costs least",
        machine=wrapped(_plain(f"{machine(case)}. {recorded(case)}")),
        answer=[wrapped(_plain(text), indent="* ") for text in (*answer(case), *elsewhere(case))],
        table="\n".join(table),
        legend=wrapped(_LEGEND),
        replies=[(wrapped(reply.question, indent="> "), wrapped(_plain(reply.answer))) for reply in asked],
        notes=[wrapped(f"[{i}] {_plain(text)}") for i, text in enumerate(_notes(case), start=1)],
    )


def _notes(case: Case) -> list[str]:
    notes = [" ".join(trust(case))]
    for row in case.answers["assumptions"].records():
        which = "" if row["strategies"] == "all" else f"({row['strategies']}) "
        notes.append(f"{which}{row['assumption'].rstrip('.')}.")
    (run, *_) = case.answers["provenance"].records()
    return [*notes, f"Recording SHA-256 {case.capture['sha256'][:16]}..., replayed by ptpool {run['replayed_by']}."]


def _plain(text: str) -> str:
    """ASCII without Markdown."""
    return text.translate(str.maketrans("µ·", "u*", "`"))
