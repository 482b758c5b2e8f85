"""Latency: what is said of quantiles, waits and the clock."""

from typing import Any

from reports.case import Case
from reports.questions import Answer
from reports.sections import latency


def case(timing: str = "real", **answers: tuple[tuple[str, ...], list[tuple[Any, ...]]]) -> Case:
    asked = {name: Answer(name, "", columns, tuple(rows)) for name, (columns, rows) in answers.items()}
    return Case(capture={"timing": timing}, metrics={}, answers=asked)


QUANTILES = ("strategy", "samples", "ptp_alloc_p50_ns", "ptp_alloc_p99_ns", "ptp_alloc_p999_ns", "lock_wait_ns", "from_1_us")  # fmt: skip


def test_equal_quantiles_are_said_once_and_missing_ones_are_missed() -> None:
    rows = [("pba", 2000, 45, 45, None, 0, 1), ("pte-mapped", 2000, 1722, 1722, None, 0, 2000)]
    said = latency.findings(case(latency_quantiles=(QUANTILES, rows)))
    assert said[0] == "Median: 45 ns pba; 1.72 µs pte-mapped."
    assert said[2] == "99.9th percentile: too few samples in every run."
    assert "No refill waited for another here" in said[3]
    alike = [("pba", 20_000, 45, 45, 45, 7000, 1)]
    said = latency.findings(case(latency_quantiles=(QUANTILES, alike)))
    assert said == [
        "Median, 99th and 99.9th percentile are equal: 45 ns pba.",
        "Total time waiting for locks: pba 7 µs.",
    ]


def test_waits_of_an_emulated_recording_are_no_finding() -> None:
    assert latency.standing(case("emulated")).startswith("**Sensitivity, not a finding:** this was recorded under emul")
    assert "by a clock of unknown rate" in latency.standing(case("unknown"))
    assert latency.standing(case("real")) == ""
