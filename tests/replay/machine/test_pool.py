"""Lists of the pool."""

from toy_machine import machine_of

from replay.machine import pool as pools


def test_half_of_a_pair_that_a_shrinker_has_in_hand_is_not_handed_out():
    a = machine_of(64, free=[False] * 64).allocator
    a, pool = pools.empty_pool(a, merges=True)
    pools.give(a, pool, 4, 2)
    pools.remove(a, pool, 4)
    assert pools.take(a, pool, 1) == -1
    assert pools.take(a, pool, 0) == 5
