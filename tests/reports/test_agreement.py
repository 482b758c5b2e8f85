"""What is said about the agreement with the recorded machine."""

from typing import Any

from reports.case import Case
from reports.questions import Answer
from reports.sections.agreement import agreement

COLUMNS = ("quantity", "zone", "page_order", "recorded_before", "recorded_after", "predicted", "null_error", "model_error", "allowed_error", "holds", "better")  # fmt: skip


def case(validation: tuple[Any, ...] = (), contradictions: tuple[Any, ...] = ()) -> Case:
    answers = {
        "validation": Answer("validation", "", COLUMNS, validation),
        "contradictions": Answer("contradictions", "", ("what", "cause", "pages"), contradictions),
    }
    return Case(capture={}, metrics={}, answers=answers)


def row(
    order: int | None, before: float, after: float, predicted: float, quantity: str = "free_blocks"
) -> tuple[Any, ...]:
    change, error = abs(after - before), abs(after - predicted)
    allowed = None if quantity == "pcp_pages" else max(change / 4, 32)
    holds = None if allowed is None else error <= allowed
    better = None if allowed is None or change <= 32 else error < change
    return (quantity, "Normal", order, before, after, predicted, change, error, allowed, holds, better)


def test_nothing_compared_says_how_to() -> None:
    assert agreement(case()) == [
        "Free blocks, pageblock types and page states were not compared: `ptpool replay validate` does that."
    ]


def test_predictions_that_hold_and_the_worst_that_does_not() -> None:
    (held,) = agreement(case((row(0, 0, 400, 320), row(3, 5, 5, 9))))
    assert held.startswith("Of what changed in the free lists, or was predicted to, 2 of 2 quantities are predicted")
    assert held.endswith("of the 1 that changed by more than 32, 1 better than by 'as before'.")
    (wrong,) = agreement(
        case((row(0, 0, 400, 100), row(None, 0, 1000, 0, "free_pages"), row(None, 0, 9, 99, "pcp_pages")))
    )
    assert "0 of 2 quantities are" in wrong
    assert "of the 2 that changed by more than 32, 1 better" in wrong
    assert wrong.endswith("Furthest off: free pages in zone Normal, recorded 0 before and 1,000 after, predicted 0.")
    (order,) = agreement(case((row(4, 0, 400, 100),)))
    assert "Furthest off: free blocks of order 4 in zone Normal" in order


def test_causes_are_named_largest_first() -> None:
    told = agreement(case(contradictions=(("a", "compaction", 1), ("b", "per_cpu_lists", 20), ("c", "compaction", 4))))
    assert told == [
        "With every event at its recorded place, the trace and the snapshots contradict each other for these reasons: "
        "pages on per-CPU lists (20 pages) and compaction, whose targets have no event (5 pages); nothing is left "
        "unexplained."
    ]
    (unknown,) = agreement(case(contradictions=(("a", "unexplained", 1),)))
    assert unknown.endswith("contradict each other; 1 page is left unexplained.")
