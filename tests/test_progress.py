"""Progress where standard error is no terminal."""

import pytest

from ptpool import progress as module
from ptpool.progress import progress


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def lines(total, done, note):
        with progress("recording", total, unit="s") as meter:
            clock[0] += 4
            meter(done, note)
        return capsys.readouterr().err

    return lines


def test_a_time_is_printed_once(said) -> None:
    assert said(0, 3, "3 s, 12 events") == "recording: 3 s, 12 events\n"
    assert said(0, 3, "") == "recording: 3 s\n"
    assert said(8, 4, "4 s, 12 events") == "recording: 50 %, about 4 s left, 4 s, 12 events\n"
