"""Requests that may reclaim but not enter file systems: nobody is killed for them, they loop until others have freed enough."""

from dataclasses import replace

import numpy as np
import pytest
from accounts import assert_consistent
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_machine import KERNEL, OTHER, demand_of, finished, machine_of

from ptpool.vocabulary import SLOW_PATH_STEPS
from replay.kernel.gfp import MAY_FS, MAY_IO, MEMALLOC, NORETRY, RETRY_MAYFAIL, THISNODE, WAKES_KSWAPD
from replay.kernel.mmzone import USED, WMARK_HIGH, WMARK_LOW
from replay.machine.reclaim import variants
from replay.strategies.unprotected import Unprotected

NOFS, NOIO = KERNEL & ~MAY_FS, KERNEL & ~MAY_FS & ~MAY_IO
FULL = 64


def played(events, *, reclaim="none", context=NOFS, start=None, last_ns=10**9):
    """Rows ``(ns, task, op, page)`` on a machine without a free page."""
    events = sorted(events, key=lambda event: event[0])
    demand = demand_of([(op, page, 0, OTHER) for _, _, op, page in events], tasks=[task for _, task, _, _ in events])
    demand.program.ts[:] = [ns for ns, *_ in events]
    demand.program.context[:] = context
    start = start or machine_of(FULL, free=[False] * FULL)
    return finished(start, replace(demand, last_ns=last_ns), Unprotected(), reclaim)


def kinds(machine):
    return [kind for _, kind, _, _ in machine.state.incidents]


def flags(machine):
    return {flag: int(n) for flag, n in zip(SLOW_PATH_STEPS, machine.state.flags[0], strict=True) if n}


@pytest.mark.parametrize("context", [NOFS, NOIO])
def test_what_another_task_frees_ends_the_loop(context):
    machine = played([(0, 0, "alloc", 400), (50_000_000, 1, "free", 7)], context=context)
    assert machine.state.tally.page_of[400] == 7
    assert (kinds(machine), flags(machine), machine.state.stalls) == ([], {"reclaim": 1}, 1)


def test_what_the_task_would_free_itself_comes_too_late():
    """Its events wait for the request, which is left out when the recording ends."""
    machine = played([(0, 0, "alloc", 400), (50_000_000, 0, "free", 7)])
    assert machine.state.tally.page_of[400] == -1
    assert kinds(machine) == ["livelock"]
    assert machine.state.incidents[0][0] >= 10**9
    assert flags(machine) == {"reclaim": 1}, "not NULL, which is not what it gets"
    assert machine.state.tally.page_of[7] == -1, "freed after all"


@pytest.mark.parametrize(
    ("context", "kind", "flag"),
    [
        (KERNEL, ["oom_kill"], "oom_kill"),
        (NOFS | NORETRY, [], "null"),
        (NOFS | RETRY_MAYFAIL, [], "null"),
        (NOFS | THISNODE, [], "null"),
        (NOFS & ~3, [], "null"),  # ZONE_DMA: no kill for lowmem
    ],
)
def test_others_kill_or_get_null_at_once(context, kind, flag):
    start = machine_of(FULL, free=[False] * FULL)
    start.allocator.zones[0, 2] = 0  # a zone that every request may use
    machine = played([(0, 0, "alloc", 400), (50_000_000, 1, "free", 7)], context=context, start=start)
    assert (kinds(machine), flags(machine)[flag]) == (kind, 1)
    assert machine.state.tally.page_of[400] == -1


def test_kswapd_helps_where_direct_reclaim_may_not(monkeypatch):
    """No page is clean, so direct reclaim of NOIO requests finds none; kswapd, if the request wakes it, takes any."""
    monkeypatch.setitem(variants(), "moderate", replace(variants()["moderate"], without_io=0.0))
    start = machine_of(FULL, free=[False] * FULL)
    start.allocator.wmark[0, [WMARK_LOW, WMARK_HIGH]] = 4, 8
    woken = played([(0, 0, "alloc", 400)], reclaim="moderate", context=NOIO | WAKES_KSWAPD, start=start)
    alone = played([(0, 0, "alloc", 400)], reclaim="moderate", context=NOIO, start=start)
    direct, kswapd = (woken.state.reclaim.done[by] for by in ("reclaimed", "kswapd"))
    assert (direct, kswapd > 0, kinds(woken)) == (0, True, [])
    assert kinds(alone) == ["livelock"]


def test_kswapd_is_woken_in_every_round(monkeypatch):
    """Min watermark 2. When kswapd first runs nothing can be reclaimed; a page that can comes into use 20 ms later."""
    monkeypatch.setitem(variants(), "moderate", replace(variants()["moderate"], without_io=0.0, reclaimable=1.0))
    start = machine_of(FULL, free=[page < 2 for page in range(FULL)])
    start.allocator.kind[2:] = USED
    start.allocator.wmark[0] = 2, 2, 4
    events = [(0, 0, "alloc", 400), (20_000_000, 1, "alloc", 401), (30_000_000, 1, "free", 7)]
    machine = played(events, reclaim="moderate", context=[NOIO | WAKES_KSWAPD, KERNEL | MEMALLOC, KERNEL], start=start)
    assert (machine.state.tally.page_of[400] >= 0, machine.state.tally.page_of[401], kinds(machine)) == (True, -1, [])
    assert machine.state.reclaim.done["kswapd"] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 10**9), max_size=6),
    st.lists(st.integers(0, 10**9), max_size=8),
    st.sampled_from([NOFS, NOIO]),
)
def test_as_many_are_served_as_there_are_frees_of_others(requests, frees, context):
    """The reference: every page that another task frees before the end serves one request, and the rest livelock."""
    events = [(ns, 1 + n, "alloc", 400 + n) for n, ns in enumerate(requests)]
    events += [(ns, 0, "free", n) for n, ns in enumerate(frees)]
    machine = played(events, context=context)
    served = int((machine.state.tally.page_of[400:406] >= 0).sum())
    assert served == min(len(requests), len(frees))
    assert kinds(machine) == ["livelock"] * (len(requests) - served)
    assert machine.state.failures[0] == len(requests) - served
    free = (machine.state.allocator.kind < USED).sum()
    assert free == len(frees) - served
    assert_consistent(machine)
    assert np.all(machine.state.tally.busy == 0)
