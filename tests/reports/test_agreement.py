"""What is said about the agreement with the recorded machine."""

from typing import Any

from reports.case import Case
from reports.questions import Answer
from reports.sections.agreement import agreement

COLUMNS = ("quantity", "zone", "page_order", "recorded_before", "recorded_after", "predicted", "null_error", "model_error", "allowed_error", "holds", "better")  # fmt: skip


def case(validation: tuple[Any, ...] = ()) -> Case:
    return Case(capture={}, metrics={}, answers={"validation": Answer("validation", "", COLUMNS, validation)})


def row(
    order: int | None, before: float, after: float, predicted: float, quantity: str = "free_blocks"
) -> tuple[Any, ...]:
    change, error = abs(after - before), abs(after - predicted)
    allowed = None if quantity == "pcp_pages" else max(change / 4, 32)
    holds = None if allowed is None else error <= allowed
    better = None if allowed is None or change <= 32 else error < change
    return (quantity, "Normal", order, before, after, predicted, change, error, allowed, holds, better)


def test_how_many_predictions_hold() -> None:
    assert agreement(case()) == ""
    held = agreement(case((row(0, 0, 400, 320), row(3, 5, 5, 9))))
    assert held.startswith("Of what changed in the free lists, or was predicted to, 2 of 2 quantities are predicted")
    assert held.endswith("of the 1 that changed by more than 32, 1 better than by 'as before'.")
    wrong = agreement(
        case((row(0, 0, 400, 100), row(None, 0, 1000, 0, "free_pages"), row(None, 0, 9, 99, "pcp_pages")))
    )
    assert "0 of 2 quantities are" in wrong
    assert wrong.endswith("of the 2 that changed by more than 32, 1 better than by 'as before'.")
