"""Loads whose address depends on the load before: translation delays them, and the CPU cannot overlap them."""

import numpy as np

from ptpool.compiled import compiled

LINE = 64
"""Bytes of a cache line: each load goes to another line."""

_MULTIPLIER = np.uint64(6364136223846793005)  # Knuth, MMIX: the high bits of this generator are the random ones
_INCREMENT = np.uint64(1442695040888963407)
_WORDS_OF_A_LINE = np.uint64(3)  # log2


@compiled
def chase(memory, shift, loads, state):
    """Load the first word of `loads` lines drawn at random; the address of each depends on the word loaded before.

    Args:
        memory: uint64, zeros; the first ``1 << (64 - shift)`` lines of it are visited.
        shift: 64 less log2 of the number of lines.
        loads: how many.
        state: of the random number generator.

    Returns:
        The new state of the generator.
    """
    for _ in range(loads):
        state = state * _MULTIPLIER + _INCREMENT + memory[(state >> shift) << _WORDS_OF_A_LINE]
    return state
