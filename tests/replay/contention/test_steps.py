"""Steps of a strategy on its way to a page table."""

import pytest

from replay.contention.steps import steps_of
from replay.contract.registry import find
from replay.profiles.costs import built_in

COSTS = built_in().of("x86_64")


def test_a_pool_that_adds_keys_on_each_table_has_no_steps():
    (entry,) = find(["pte-cache"])
    with pytest.raises(ValueError, match="keyed pages"):
        steps_of(entry.factory(), 9, 1000, COSTS)
