"""Sentences on how far the model agrees with the recorded machine: what `ptpool replay validate` found."""

from typing import Any

from reports.case import Case
from reports.formats import count, listed, number

_CHANGED = 32
"""A quantity that changed by no more than this can hardly be predicted better than by its old value."""

_CAUSES = {
    "per_cpu_lists": "pages on per-CPU lists",
    "bulk_allocation": "allocations in bulk, which have no event",
    "compaction": "compaction, whose targets have no event",
    "deferred_init": "memory that boot handed over late",
    "reserved_memory": "reserved memory that boot gave back",
    "contig_range": "contiguous ranges, which have no event",
    "before_first_event": "what happened before the first event",
    "after_last_event": "what happened between the last event and the snapshot",
    "lost_events": "lost events",
}


def agreement(case: Case) -> list[str]:
    """How many predictions hold, which is furthest off, and what the recording alone cannot explain."""
    rows = case.answers["validation"].records()
    contradictions = case.answers["contradictions"].records()
    if not rows and not contradictions:
        return ["Free blocks, pageblock types and page states were not compared: `ptpool replay validate` does that."]
    return [sentence for sentence in (_predictions(rows), _placement(contradictions)) if sentence]


def _predictions(rows: list[dict[str, Any]]) -> str:
    judged = [row for row in rows if row["allowed_error"] is not None]
    if not judged:
        return ""
    wrong = [row for row in judged if row["model_error"] > row["allowed_error"]]
    changed = [row for row in judged if row["null_error"] > _CHANGED]
    better = sum(row["model_error"] < row["null_error"] for row in changed)
    held = f"{number(len(judged) - len(wrong))} of {count(len(judged), 'quantity', 'quantities')}"
    text = (
        f"Of what changed in the free lists, or was predicted to, {held} {'is' if len(judged) == 1 else 'are'} "
        "predicted within a quarter of the recorded change, or 32"
    )
    if changed:
        text += (
            f"; of the {number(len(changed))} that changed by more than 32, {number(better)} better than by 'as before'"
        )
    if not wrong:
        return f"{text}."
    worst = max(wrong, key=lambda row: row["model_error"] / row["allowed_error"])
    return (
        f"{text}. Furthest off: {_name(worst)}, recorded {number(worst['recorded_before'])} before and "
        f"{number(worst['recorded_after'])} after, predicted {number(worst['predicted'])}."
    )


def _name(row: dict[str, Any]) -> str:
    name = "free blocks" if row["quantity"] == "free_blocks" else row["quantity"].replace("_", " ")
    order = "" if row["page_order"] is None else f" of order {row['page_order']}"
    return f"{name}{order}" + (f" in zone {row['zone']}" if row["zone"] else "")


def _placement(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    causes: dict[str, int] = {}
    for row in rows:
        causes[row["cause"]] = causes.get(row["cause"], 0) + row["pages"]
    unknown = causes.pop("unexplained", 0)
    ranked = sorted(causes.items(), key=lambda item: -item[1])
    text = "With every event at its recorded place, the trace and the snapshots contradict each other"
    if ranked:
        reasons = [f"{_CAUSES[cause]} ({count(pages, 'page')})" for cause, pages in ranked]
        text += f" for these reasons: {listed(reasons)}"
    left = f"{count(unknown, 'page')} {'is' if unknown == 1 else 'are'} left" if unknown else "nothing is left"
    return f"{text}; {left} unexplained."
