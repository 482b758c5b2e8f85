"""Counts and the severity that they get."""

from ingest.quality import meanings, stat


def test_severity_follows_the_share() -> None:
    totals = {"allocations": 100_000, "frees": 100}
    assert stat("allocs_without_stack", 3, totals)[1] == "notice"
    assert stat("allocs_without_stack", 3000, totals)[1] == "error"
    assert stat("allocs_over_live", 24, totals)[1] == "error"
    assert stat("allocs_over_live", 24, totals, lost=False)[1] == "notice"
    assert stat("allocs_over_live", 2400, totals, lost=False)[1] == "error"
    assert stat("lost_events", 1, totals)[1] == "data_loss"
    assert stat("lost_events", 0, totals)[1] == "info"
    assert all(entry["meaning"].endswith(".") for entry in meanings().values())
