"""Pages drawn for per-CPU lists, beside those that kernels dumped."""

from pathlib import Path

import numpy as np
import pytest
from free_list_dumps import bias_and_rms, completed, per_cpu_leaves, read_dump

from replay.start.per_cpu import likeliest_first

DUMPS = Path(__file__).parents[2] / "data" / "free_lists"


@pytest.mark.parametrize(("whole", "stay"), [(1, [31]), (4, [])], ids=["scarce", "plenty"])
def test_a_nearly_free_block_does_not_become_whole_where_whole_ones_are_scarce(whole, stay):
    moving = np.full(200, 4)
    moving[:whole] = 16
    moving[1 if whole > 1 else 0] = 16
    moving[10], moving[11] = 14, 13
    pages = np.array([160, 175, 176, 177])  # all that keeps block 10 from being whole; not all of block 11
    mine = likeliest_first(pages, moving, slice(0, 200), 4, np.random.default_rng(0))
    assert mine.tolist() == ([160, 176, 177] if stay else [160, 175, 176, 177])


def test_the_emptiest_pageblocks_come_first():
    moving = np.array([16, 0, 9, 3, 9, 16])
    pages = np.array([17, 18, 35, 40, 50, 66])
    orders = {
        tuple(likeliest_first(pages, moving, slice(0, 6), 4, np.random.default_rng(seed)).tolist()) for seed in range(9)
    }
    assert orders == {(35, 40, 66, 50, 17, 18), (66, 35, 40, 50, 17, 18)}


def test_draining_makes_about_as_many_huge_blocks_as_on_real_machines():
    made = {name: next(completed(read_dump(DUMPS / name))) for name in ("frag4", "given-back", "running", "thinned")}
    assert made["frag4"] == (0, 0, 1)
    real, drawn, _ = made["given-back"]
    assert real > 100 and abs(drawn - real) < 0.05 * real
    assert all(abs(made[name][0] - made[name][1]) <= 2 for name in ("running", "thinned"))


def test_drawn_pages_lie_as_on_real_lists():
    rows = np.array(
        [row for name in ("given-back", "running", "thinned") for row in per_cpu_leaves(read_dump(DUMPS / name), 5)]
    )
    rows = rows[rows[:, 0] == 64]
    (drawn, _), (emptiest, _), (by_address, _) = (bias_and_rms(rows, column) for column in (2, 3, 4))
    assert by_address < emptiest < 1.5 * drawn < 0
