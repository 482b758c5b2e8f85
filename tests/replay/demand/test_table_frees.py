"""How a recording shows whether its kernel freed page tables at once or after a grace period."""

import numpy as np
import pytest

from replay.demand.table_frees import freed

STACKS = {
    "at once": (True, False),
    "burst": (False, True),
    "burst in a gather": (True, True),
    "elsewhere": (False, False),
}


@pytest.mark.parametrize(
    ("stacks", "pids", "at_once", "after_grace"),
    [
        (["at once", "burst", "burst in a gather", "elsewhere"], [5, 5, 5, 5], [0], [1, 2]),
        ([None, None], [5, 6], [0, 1], []),
        ([None, None, None], [5, 0, 6], [], [0, 1, 2]),  # no gather is the idle task's
    ],
)
def test_stacks_show_how_the_recorded_kernel_freed_or_the_idle_task_does(stacks, pids, at_once, after_grace):
    gather, grace = np.array([STACKS.get(stack, (False, False)) for stack in stacks]).T
    has_stack = np.array([stack is not None for stack in stacks])
    found = freed(np.ones(len(pids), np.bool_), has_stack, gather, grace, np.array(pids))
    assert [np.flatnonzero(mask).tolist() for mask in found] == [at_once, after_grace]
