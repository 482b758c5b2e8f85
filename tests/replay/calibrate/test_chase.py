"""The walk through memory that is timed."""

import numpy as np

from replay.calibrate.chase import chase


def test_a_load_depends_on_the_one_before():
    def end(memory):
        with np.errstate(over="ignore"):
            return chase.py_func(memory, np.uint64(64 - 3), 50, np.uint64(7))

    zeros = np.zeros(8 * 8, dtype=np.uint64)
    other = zeros.copy()
    other[8 * 5] = 1  # the first word of a line; no other word is loaded
    assert end(zeros) != end(other)
    other[:] = 1
    other[::8] = 0
    assert end(zeros) == end(other)
