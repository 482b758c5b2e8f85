"""A calibration whose measured values are made up."""

import pytest

from replay.calibrate import conversion, penalty, profile

MACHINE = {"cpu": "Toy 9000", "cpus": 4, "arch": "x86_64", "kernel": "6.18.0", "memory_bytes": 1 << 33}


@pytest.fixture
def found():
    take = {0: 12.0, 1: 10.0}
    loads, _ = penalty.curve([4096, 1 << 21], [[1 << 20, 1 << 21]] * 2, lambda w, i: take[i], lambda share: None)
    prices = conversion.price([0, 3], lambda busy, secret: 1000.0 + secret * (5000 + 200 * busy), lambda share: None)
    values = [*loads, *prices]
    made = {"made_at": "2026-01-02T03:04:05+00:00", "made_by": "ptpool", "command": 'ptpool "replay" calibrate'}
    return profile.Calibration(MACHINE, made, ["a remark"], values)
