"""The lab stays usable: its scripts parse and its tables name things that are there. It runs by hand (data/lab/README.md)."""

import csv
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

LAB = Path(__file__).parents[1] / "data" / "lab"
SCRIPTS = sorted([*LAB.glob("*.sh"), LAB / "guest" / "init", *LAB.glob("guest/jobs/*"), *LAB.glob("guest/workloads/*")])


def table(name):
    with (LAB / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(None not in row and None not in row.values() for row in rows), (
        "a line has too many or too few fields"
    )
    return rows


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(LAB).as_posix())
def test_scripts_parse(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False).stderr == ""


def test_commands_can_be_run():
    assert {path.name for path in LAB.glob("*.sh") if os.access(path, os.X_OK)} == {
        "guest.sh",
        "lists.sh",
        "oracle.sh",
        "record.sh",
        "setup.sh",
    }


def test_pinned_kernels_are_of_the_kind_that_may_replace_them():
    for row in table("kernels.csv"):
        assert re.fullmatch(row["newest"], row["release"])
        assert row["release"].endswith(row["architecture"])
        assert bool(row["midr"]) == (row["architecture"] == "arm64")


def test_workloads_name_kernels_scripts_and_recorders():
    kernels = {row["kernel"] for row in table("kernels.csv")}
    recorders = set(re.findall(r"^    (\w+)\)", (LAB / "guest/jobs/record").read_text(encoding="utf-8"), re.MULTILINE))
    scripts = set()
    for row in table("workloads.csv"):
        assert row["kernel"] in kernels and row["recorder"] in recorders
        assert all(int(row[name]) > 0 for name in ("memory_mib", "cpus", "buffer_kib"))
        scripts.add(row["script"])
    assert scripts == {path.name for path in LAB.glob("guest/workloads/*")}


def test_every_architecture_has_a_mix():
    assert {row["architecture"] for row in table("mixes.csv")} == {row["architecture"] for row in table("kernels.csv")}


def test_without_its_tools_the_lab_says_so_in_two_lines(tmp_path):
    """As on a machine without apt-get."""
    for tool in ("dirname", "realpath"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"needs {tool}"))
    bash = shutil.which("bash") or pytest.skip("needs bash")
    done = subprocess.run(
        [bash, LAB / "setup.sh"],
        check=False,
        env={"PATH": str(tmp_path), "LAB": str(tmp_path / "lab")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("lab: apt-get is not on this machine\n") and done.stderr.count("\n") == 2
    assert not (tmp_path / "lab").exists()


def test_the_spread_is_of_five_whole_recordings():
    with (LAB.parent / "captures" / "spread.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(row["workload"], row["recording"]) for row in rows} == {
        (workload, str(i)) for workload in ("fork", "sharedmem") for i in range(1, 6)
    }
    free = [row for row in rows if row["quantity"] == "free_pages" and row["zone"] == "DMA32"]
    assert len(free) == 10 and all(int(row["before"]) > 0 and int(row["after"]) > 0 for row in free)
