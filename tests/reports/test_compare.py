"""Comparison of two warehouses: what is paired, what is said with one seed and with several, what is left out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptpool.cli import run
from ptpool.run_settings import DEFAULTS
from ptpool.warehouse import open_warehouse
from reports.compare import compared, interval
from reports.compare_text import compared_text


def row(value: float | None, **changed: Any) -> dict[str, Any]:
    usual = {
        "capture": "c", "sha256": "h", "strategy": "pba", "params": "{}", "code_version": "1",
        "metric": "refills", "unit": "refills",
    }  # fmt: skip
    return DEFAULTS | usual | {"value": value} | changed


def test_one_seed_is_shown_and_not_judged() -> None:
    found = compared([row(5), row(1, metric="splits_2m")], [row(7), row(1, metric="splits_2m")])
    (only,) = found.differences
    assert (only.metric, only.before, only.after, only.p, found.same) == ("refills", 5, 7, None, 1)
    text = " ".join(compared_text(found).split())
    assert "deterministic" in text
    assert "1 of 2 values differ." in text


def test_seeds_are_pairs() -> None:
    before = [row(100 + 50 * seed, seed=seed) for seed in range(8)]
    after = [row(102 + 50 * seed, seed=seed) for seed in reversed(range(8))]
    (found,) = compared(before, after).differences
    assert (found.seeds, found.low, found.high) == (8, 2, 2)  # unpaired, the spread of seeds would drown it
    assert found.p == pytest.approx(2 / 2**8)
    assert "p is that of the sign test" in " ".join(compared_text(compared(before, after)).split())


def test_the_interval_is_that_of_the_mean_and_the_same_each_time() -> None:
    changes = np.random.default_rng(3).normal(5, 2, 40)
    low, high = interval(changes)
    assert (low, high) == interval(changes)
    half = 1.96 * changes.std() / np.sqrt(40)
    assert low == pytest.approx(changes.mean() - half, abs=0.15)
    assert high == pytest.approx(changes.mean() + half, abs=0.15)


def test_what_has_no_partner_is_said() -> None:
    before = [row(5), row(5, strategy="gone"), row(5, capture="lost"), row(5, capture="other", sha256="x")]
    found = compared(before, [row(5), row(5, strategy="new"), row(5, capture="other", sha256="y")])
    assert (found.pairs, found.differences) == (1, [])
    assert found.alone == [
        "gone of c, only before", "lost, only before", "other, a different recording of that name", "new of c, only after",
    ]  # fmt: skip


def test_changed_parameters_are_paired_if_there_is_one_set_on_each_side() -> None:
    found = compared([row(5, params='{"reserve": 4}')], [row(6, params='{"reserve": 8}')])
    assert found.parameters == {"pba*": "reserve 4 to 8"}
    mixed = compared(
        [row(5, params='{"reserve": 4}'), row(5, params='{"reserve": 4}', seed=1)],
        [row(5, params='{"reserve": 4}'), row(6, params='{"reserve": 8}', seed=1)],
    )
    assert [(d.setting, d.before, d.after, d.seeds) for d in mixed.differences] == [("pba*", 5, 6, 1)]
    many = [row(5, params='{"reserve": 4}'), row(5, params='{"reserve": 5}')]
    assert "several sets" in compared(many, [row(6, params='{"reserve": 8}')]).alone[0]
    assert compared(many, [row(6, params='{"reserve": 5}')]).differences[0].after == 6


def test_every_set_of_parameters_is_compared() -> None:
    usual, larger, other = ('{"reserve": 4}', '{"reserve": 8}', '{"reserve": 9}')
    both = compared([row(5, params=usual), row(6, params=larger)], [row(5, params=usual), row(7, params=larger)])
    assert [(d.setting, d.before, d.after) for d in both.differences] == [("pba, reserve 8", 6, 7)]
    assert (both.pairs, both.alone) == (2, [])
    more = compared([row(5, params=usual)], [row(5, params=usual), row(7, params=larger)])
    assert (more.pairs, more.differences, more.alone) == (1, [], ["pba, reserve 8 of c, only after"])
    changed = compared([row(5, params=usual), row(6, params=larger)], [row(5, params=usual), row(7, params=other)])
    assert [(d.setting, d.before, d.after) for d in changed.differences] == [("pba*", 6, 7)]
    assert changed.parameters == {"pba*": "reserve 8 to 9"}


def test_runs_of_other_settings_are_no_pairs() -> None:
    found = compared([row(5), row(6, machine="8G"), row(7, inject=3.0)], [row(5), row(8, machine="8G")])
    assert [(d.setting, d.before, d.after) for d in found.differences] == [("pba, machine 8G", 6, 8)]
    assert found.alone == ["pba, inject 3.0 of c, only before"]


def test_what_applies_on_one_side_only_is_a_difference() -> None:
    (found,) = compared([row(None)], [row(3)]).differences
    assert (found.before, found.after) == (None, 3)
    assert "n/a" in compared_text(compared([row(None)], [row(3)]), markdown=True)


def test_the_command_tells_by_its_status(warehouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "after.duckdb"
    shutil.copy(warehouse, other)
    assert run(["report", "compare", str(warehouse), str(other)]) == 0
    assert "none of" in capsys.readouterr().out
    with open_warehouse(other, write=True) as connection:
        connection.execute("UPDATE run_metric SET value = 99 WHERE run_id = 'id-of-phone/pba' AND metric = 'refills'")
    assert run(["report", "compare", str(warehouse), str(other), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["differences"]
    assert (found["capture"], found["setting"], found["before"], found["after"]) == ("phone", "pba", 12, 99)
    assert run(["report", "compare", str(warehouse), str(other), "--capture", "server"]) == 0
    assert run(["report", "compare", str(warehouse), str(other), "--capture", "x"]) == 2
    assert run(["report", "compare", str(warehouse), str(tmp_path / "none.duckdb")]) == 2
