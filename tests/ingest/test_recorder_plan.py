"""What a recording is made with, and the refusals before it begins."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_machine import FakeMachine

from ingest.recorder import perf
from ingest.recorder.plan import buffer_size, choose
from ingest.recorder.tracefs import Tracefs
from ptpool.cli import run
from ptpool.errors import UsageError


def test_what_is_missing_is_said_with_the_remedy(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf.shutil, "which", lambda name: None)
    tracefs = Tracefs(machine.root)
    assert choose(None, tracefs) == "tracefs"
    cases = {
        "sys/kernel/security/lockdown": ("none integrity [confidentiality]", "locked down"),
        "proc/kallsyms": ("0000000000000000 T _stext\n", "kernel.kptr_restrict=1"),
        "sys/kernel/tracing/events/kmem/mm_page_free/format": (None, "no event kmem/mm_page_free"),
    }
    for name, (text, words) in cases.items():
        path = machine.root / name
        good = path.read_text()
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(UsageError) as refused:
            choose(None, tracefs)
        assert words in str(refused.value)
        assert "perf: perf is not installed" in str(refused.value)
        path.write_text(good)
    with pytest.raises(UsageError, match="mount -t tracefs"):
        choose("tracefs", Tracefs(machine.root / "proc"))


def test_without_the_rights_it_says_who_may(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(UsageError, match="only root may read") as error:
        choose("tracefs", Tracefs(machine.root))
    assert error.value.remedy == "run it as root (sudo)"


@pytest.mark.parametrize(
    ("wanted", "available", "cpus", "size"),
    [
        (None, 64 << 30, 2, 64 << 20),
        (None, 64 << 30, 256, 16 << 20),
        (None, 1 << 30, 3, 16 << 20),
        (None, 0, 8, 1 << 20),
        (100 << 20, 1 << 30, 2, 64 << 20),
        (256 << 20, 1 << 30, 2, 256 << 20),
    ],
)
def test_buffers_are_sized_by_memory_and_cpus(wanted: int | None, available: int, cpus: int, size: int) -> None:
    assert buffer_size(wanted, available, cpus) == size


def test_buffers_that_would_take_the_memory_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 128M"):
        buffer_size(256 << 20, 1 << 30, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "dtrace"], "no such backend"),
        (["--buffer", "many"], "not a size"),
        (["--buffer", "1K"], "not a size"),
        (["--out", "there"], "exists already"),
        (["--out", "half"], "did not finish"),
        (["--", "no-such-program-here"], "no such command"),
    ],
)
def test_refusals(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "half.partial").mkdir()
    assert run(["ingest", "capture", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) <= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.partial", "there"]
