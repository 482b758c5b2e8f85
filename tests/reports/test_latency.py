"""Latency: what is said of quantiles, waits and the clock."""

from typing import Any

from reports.case import Case
from reports.questions import Answer
from reports.sections import latency


def case(timing: str = "real", **answers: tuple[tuple[str, ...], list[tuple[Any, ...]]]) -> Case:
    asked = {name: Answer(name, "", columns, tuple(rows)) for name, (columns, rows) in answers.items()}
    return Case(capture={"timing": timing}, metrics={}, answers=asked)


def test_waits_of_an_emulated_recording_are_no_finding() -> None:
    assert latency.standing(case("emulated")).startswith("**Sensitivity, not a finding:** this was recorded under emul")
    assert "by a clock of unknown rate" in latency.standing(case("unknown"))
    assert latency.standing(case("real")) == ""
