"""A study of one capture."""

import pytest

from ptpool.errors import UsageError
from ptpool.warehouse import open_warehouse
from replay.contract.registry import find
from replay.risk.extent import Extent
from replay.risk.search import Study, Thresholds, Trial
from replay.risk.study import About, run_study
from replay.risk.trial import Outcome
from replay.start.pressed_machine import (
    AS_RECORDED,
)


def test_only_a_snapshot_from_before_tells_how_memory_lay(tmp_path):
    capture = {"capture_id": "c", "name": "mine"}
    said = "mine has no snapshot of its free memory before the recording"
    with open_warehouse(tmp_path / "w.duckdb", write=True):
        pass
    with pytest.raises(UsageError, match=said):
        run_study(
            tmp_path / "w.duckdb",
            About(capture, "recorded"),
            ((), ()),
            Extent(1, (AS_RECORDED,), ("unmovable",), ("none",)),
            1,
            lambda _: None,
        )


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study whose searches take no time: on an empty warehouse, in this process."""
    with open_warehouse(tmp_path / "w.duckdb", write=True):
        pass
    monkeypatch.setattr("replay.risk.study.study_of", lambda *_: Study(None, None, None, 1, 0.5))
    monkeypatch.setattr("replay.risk.study.compile_ahead", lambda **_: None)
    monkeypatch.setattr("replay.risk.study.search", searched)
    chosen = [entry.factory() for entry in find(["unprotected", "pba"])]
    extent = Extent(3, ("severe",), ("unmovable",), ("none", "moderate"))

    def begin(on_done=lambda _: None):
        SEARCHED.clear()
        return run_study(
            tmp_path / "w.duckdb",
            About({"capture_id": "c", "name": "n"}, "recorded"),
            (["unprotected", "pba"], chosen),
            extent,
            1,
            on_done,
        )

    return begin, tmp_path


SEARCHED = []


def searched(_, draw):
    SEARCHED.append((draw.seed, draw.reclaim, draw.guesses))
    trials = [Trial(place, 3 + place, Outcome(None, 5, None, 2, 1000), False) for place in range(2)]
    return Thresholds([3, 4 + draw.seed], 40, trials, {3: (0.5, None, 1.0)})


def thresholds(folder):
    with open_warehouse(folder / "w.duckdb") as connection:
        return connection.execute("SELECT * FROM risk_threshold ORDER BY ALL").fetchall()


def test_an_interrupt_keeps_every_finished_machine_and_the_next_study_goes_on(study):
    begin, folder = study
    assert begin() == []
    whole, everything = thresholds(folder), list(SEARCHED)
    assert len(whole) == 2 * 2 * 3
    assert [path.name for path in folder.iterdir()] == ["w.duckdb"]

    with open_warehouse(folder / "w.duckdb", write=True) as connection:
        connection.execute("DELETE FROM risk_threshold; DELETE FROM risk")

    def interrupt(done):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(interrupt)
    assert len(thresholds(folder)) == 2 * 4
    first = list(SEARCHED)
    (kept,) = folder.glob("w.duckdb.risk-*.draws")
    next(kept.iterdir()).write_text("[torn")
    assert begin() == []
    assert thresholds(folder) == whole
    assert len(SEARCHED) == 6 - 4 + 1  # the torn one again
    assert set(first) | set(SEARCHED) == set(everything)
    assert [path.name for path in folder.iterdir()] == ["w.duckdb"]
