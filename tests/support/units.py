"""Units of work that other processes can import."""

import os
import signal
from pathlib import Path

import numpy as np

DATA = np.arange(1000, dtype=np.int64)


def total(shared, unit):
    numbers, _ = shared
    if unit == 13:
        raise ValueError("thirteen")
    assert numbers.flags.writeable  # another type to compiled code than read-only
    return int(numbers.sum()) * unit


def die_once(shared, unit):
    marker = Path(shared[1])
    if unit == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(shared, unit):
    os.kill(os.getpid(), signal.SIGKILL)
