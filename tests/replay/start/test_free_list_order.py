"""The order of free lists: what the recording tells of it, and what is drawn, beside lists that kernels dumped."""

from pathlib import Path

import numpy as np
import pytest
from free_list_dumps import DRAWN, bias_and_rms, free_list_leaves, read_dump
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_free_list_order import draw as reference_draw
from toy_machine import KSTACK, PGTABLE, demand_of, machine_of

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.vocabulary import MOVABLE, RECLAIMABLE, UNMOVABLE
from replay.kernel.lists import NEXT
from replay.kernel.mmzone import TYPES, ZONE_NORMAL
from replay.kernel.page_alloc import alloc_pages
from replay.start.free_list_order import (
    NEVER,
    ListOrder,
    Visits,
    as_shown,
    draw,
    first_allocation,
    list_order,
    order_free_lists,
    per_cpu_order,
)

DUMPS = Path(__file__).parents[2] / "data" / "free_lists"


@st.composite
def blocks(draw_from):
    """Leaves, lists, and what they are drawn with."""
    n = draw_from(st.integers(0, 60))
    leaf = sorted(draw_from(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    lists = draw_from(st.lists(st.integers(0, 3 * TYPES), min_size=n, max_size=n))
    visits = st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([1.0, 3.0, 512.0]), st.floats(1, 9))
    of_type = [Visits(*draw_from(visits)) for _ in range(TYPES)]
    return np.array(leaf, np.int64), np.array(lists, np.int64), ListOrder("any", tuple(of_type))


@settings(deadline=None)
@given(blocks(), st.integers(0, 99))
def test_the_draw_is_that_of_the_slow_reference(given_blocks, seed):
    leaf, lists, order = given_blocks
    drawn = draw(leaf, lists, order, np.random.default_rng(seed)).tolist()
    assert drawn == reference_draw(leaf.tolist(), lists.tolist(), order, np.random.default_rng(seed))
    assert sorted(drawn) == list(range(len(leaf)))


def test_the_ends_are_as_even_and_as_clustered_as_can_be():
    leaf, lists = np.repeat(np.arange(50), 20), np.zeros(1000, np.int64)
    touched = {
        name: len(np.unique(leaf[draw(leaf, lists, list_order(name), np.random.default_rng(0))][:100]))
        for name in DRAWN
    }
    assert touched["clustered"] <= 8
    assert touched["worn"] > 30
    assert touched["random"] > 30


def test_numbers_go_by_type_and_turnover():
    worn = [list_order("worn", often).of_type for often in (0.5, 2, 100)]
    assert [row[UNMOVABLE].together for row in worn] == [0.8, 0.6, 0.1]
    assert [row[RECLAIMABLE] for row in worn] == [row[UNMOVABLE] for row in worn]
    assert [row[MOVABLE] for row in worn] == [(0.8, 2, 1.5), (0.45, 2, 1.5), (0.6, 4, 40)]
    assert set(list_order().of_type) == {(0.6, 2, 5)}
    assert list_order("random", 3.0) == list_order("random")
    assert per_cpu_order().of_type[UNMOVABLE] != per_cpu_order().of_type[MOVABLE]
    with pytest.raises(UsageError, match="--free-list-order per_cpu: no such order"):
        list_order("per_cpu")


def recorded(shared):
    """Twenty page tables on pages 0 to 19; then twenty kernel stacks, `shared` of them on pages that were page tables'."""
    events = [("alloc", page, 0, PGTABLE) for page in range(20)]
    events += [("free", page, 0, PGTABLE) for page in range(shared)]
    return demand_of(events + [("alloc", page, 0, KSTACK) for page in (*range(shared), *range(20 + shared, 40))])


def test_page_tables_tell_the_order_only_where_others_use_their_pages_too():
    shares, apart = (first_allocation(recorded(shared).program, 50) for shared in (2, 1))
    assert shares.tolist()[:20] == list(range(20))
    assert apart.tolist()[:20] == [21] + [NEVER] * 19
    assert apart.tolist()[21:40] == list(range(22, 41))
    assert (apart[40:] == NEVER).all()


def test_a_pool_does_not_put_its_own_pages_first():
    pages = np.arange(1024)
    taken = {}
    for consumer in (PGTABLE, KSTACK):
        events = [("alloc", int(page), 0, consumer) for page in pages[512:1024:8]]
        demand = demand_of([("alloc", 0, 0, KSTACK), ("free", 0, 0, KSTACK), *events])
        machine = machine_of(1024, free=pages % 4 < 2, types=[UNMOVABLE] * 256)
        a = machine.allocator
        order_free_lists(a, first_allocation(demand.program, 1024), list_order(), np.random.default_rng(0))
        taken[consumer] = [int(alloc_pages(a, 0, 1, UNMOVABLE, ZONE_NORMAL)) for _ in range(64)]
    assert taken[KSTACK][1:] == list(range(512, 1016, 8))
    assert len(set(taken[PGTABLE]) & set(range(512, 1016, 8))) < 32


def test_ordering_moves_blocks_within_their_lists_only():
    states = []
    for seed in (3, 3, 4):
        random = np.random.default_rng(1)
        whole = np.repeat(random.random(128) < 0.3, 8)
        types = np.repeat(random.integers(0, 3, 128), 2)
        machine = machine_of(1024, free=whole | (random.random(1024) < 0.6), types=types)
        before = on_lists(machine.allocator)
        said = order_free_lists(machine.allocator, np.empty(0, np.int32), list_order(), np.random.default_rng(seed))
        after = on_lists(machine.allocator)
        assert {head: sorted(pages) for head, pages in after.items()} == before
        largest = [head for head in after if head // TYPES == machine.allocator.max_order]
        assert len(largest) == 3 and all(after[head] == before[head] for head in largest)
        assert "the 0 that the recording takes first lead" in said[0] and "60% in runs of 2" in said[0]
        states.append(after)
    assert states[0] == states[1] != states[2]


@pytest.mark.parametrize("name", ["random", "worn", "clustered"])
def test_the_recording_shows_how_the_rest_lies(name):
    leaf, lists = np.repeat(np.arange(100), 8), np.full(800, UNMOVABLE)
    taken = leaf[draw(leaf, lists, list_order(name), np.random.default_rng(5))]
    order = as_shown(taken, lists, list_order("worn", 1.0))
    assert order.shown == (taken[1:512] == taken[:511]).mean()
    assert order.of_type[MOVABLE] == list_order("worn", 1.0).of_type[MOVABLE]
    together, run, _ = order.of_type[UNMOVABLE]
    assert {"random": together < 0.6, "worn": 0.4 < together < 1, "clustered": run >= 16}[name]


def test_too_few_blocks_show_nothing_nor_do_movable_lists():
    leaf, order = np.repeat(np.arange(100), 8), list_order("worn", 1.0)
    assert as_shown(leaf[:128], np.full(128, UNMOVABLE), order) is order
    assert as_shown(leaf[:129], np.full(129, UNMOVABLE), order) is not order
    assert as_shown(leaf, np.full(800, MOVABLE), order) is order
    assert as_shown(np.zeros(130, np.int64), np.repeat([0, TYPES], 65), order).shown == 1  # 64 pairs on each list


def on_lists(a):
    """Pages on each free list, head first, by the number of the list."""
    found = {}
    for number in range((a.max_order + 1) * TYPES):
        head = at = len(a.kind) + number
        while (at := int(a.link[at, NEXT])) != head:
            found.setdefault(number, []).append(at)
    return found


def test_drawn_lists_touch_as_many_leaves_as_dumped_ones():
    rows = np.array(
        [row for name in ("running", "given-back", "thinned") for row in free_list_leaves(read_dump(DUMPS / name), 5)]
    )
    rows = rows[rows[:, 0] == 64]
    (worn, _), (evenly, _), (clustered, _), (by_address, _) = (bias_and_rms(rows, column) for column in range(2, 6))
    assert len(rows) > 20
    assert abs(worn) < 0.06 < evenly
    assert clustered < -0.3
    assert by_address < -0.5


def test_memory_used_once_is_drawn_less_evenly():
    dump = read_dump(DUMPS / "pipes")
    rows = np.array([row for row in free_list_leaves(dump, 5) if row[0] == 512])
    worn, evenly = bias_and_rms(rows, 2), bias_and_rms(rows, 3)
    assert dump.turned_over < 2
    assert worn[0] < 0.15 and worn[1] < 0.5 * evenly[1]


def test_an_order_that_does_not_exist_is_refused(captures, capsys):
    assert run(["replay", "run", "--free-list-order", "sorted", "--db", str(captures)]) == 2
    assert "--free-list-order sorted: no such order\n" in capsys.readouterr().err
