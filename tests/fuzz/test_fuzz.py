"""A short fuzz of every reader and of replays: the same inputs each time. `make fuzz` tries as many as there is time for."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import campaign
from mutations import mutated, smaller
from snapshots import SNAPSHOTS
from target import Target
from traces import TRACES, small_blocks

from ptpool.errors import UsageError

SLOW = (
    "perf-data",
    "perf-folder",
    "trace-dat",
    "trace-pipe-raw",
    "ftrace",
    "perf-script",
    "function-graph",
    "machines",
    "sweep",
)
FILES = {"file": b"first 1\nsecond 2\nthird 3\n", "other": bytes(64)}


@pytest.fixture(autouse=True)
def findings(tmp_path, monkeypatch):
    """Where findings go; readers take small blocks meanwhile."""
    small_blocks(monkeypatch.setattr)
    monkeypatch.setattr(campaign, "FOUND", tmp_path / "found")
    return tmp_path / "found"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in [*TRACES, *SNAPSHOTS, "machines"]],
)
def test_mutated_inputs(name):
    inputs = 20 if name == "machines" else 50 if name in SLOW else 200
    seeds = len(campaign.targets()[name].seeds())
    good = campaign.try_inputs(name, range(seeds))
    assert (good.refused, good.findings) == (0, {})
    assert campaign.try_inputs(name, range(seeds, seeds + inputs)).findings == {}


def test_inputs_follow_from_their_number():
    assert mutated(FILES, ["file"], Random(7)) == mutated(FILES, ["file"], Random(7))
    assert mutated(FILES, ["file"], Random(7))["other"] == FILES["other"]
    assert all(sum(map(len, fewer.values())) < sum(map(len, FILES.values())) for fewer in smaller(FILES))


def test_a_finding_is_saved_small(findings, monkeypatch):
    def read(files, folder, best_effort):
        if b"second" in files["file"]:
            raise KeyError("second")
        raise UsageError("refused")

    monkeypatch.setattr(campaign, "targets", lambda: {"it": Target(lambda: [{"file": FILES["file"]}], read)})
    tried = campaign.try_inputs("it", range(1))
    assert [fault.split(" at ")[0] for fault in tried.findings] == ["KeyError"]
    (saved,) = findings.iterdir()
    assert (saved / "files" / "file").read_bytes() == b"second 2\n"
    assert campaign.again(saved)[0] in tried.findings


CHILD = """
import sys; sys.path[:0] = [{fuzz!r}]
import campaign, os, time
from target import Target
def read(files, folder, best_effort):
    if files["file"] != b"good":
        {what}
campaign.SECONDS_EACH = 1
campaign.targets = lambda: {{"it": Target(lambda: [{{"file": b"good"}}], read)}}
done, _, refused, found, _ = campaign.campaign("it", 60, 3, 1)
print(done, refused, *found)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("pass", "3 0\n"),
        ("os.kill(os.getpid(), 9)", "dies of signal 9 (input 3)"),
        ("time.sleep(9)", "hang (input 3)"),
        ("bytearray(2 << 30)", "MemoryError at"),
    ],
)
def test_children_that_die_hang_or_take_too_much_memory(what, told, tmp_path):
    code = CHILD.format(fuzz=str(Path(__file__).parent), what=what)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("3 ")
    assert told in ran.stdout
