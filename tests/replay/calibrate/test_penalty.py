"""What small pages cost: the arithmetic, on times that are made up."""

import numpy as np
import pytest

from replay.calibrate import penalty, regions


def test_a_penalty_is_found_in_the_noise_of_other_work():
    rng = np.random.default_rng(3)
    order = []

    def take(working_set, i):
        order.append((working_set, i))
        true = {0: 12.0, 1: 10.0, 2: 9.6}[i] * (1 + working_set / 1024)
        return true * (1 + (rng.random() < 0.4) * rng.random())  # slowed down now and then, never quickened

    values, _ = penalty.curve([4096, 1 << 21, 1 << 30], [[64, 128], [64, 128], [128]], take, lambda share: None)
    slower = {(v.working_set_bytes, v.page_bytes): v.median for v in values if v.quantity == "penalty"}
    assert slower == pytest.approx({(64, 1 << 21): 20, (128, 1 << 21): 20, (128, 1 << 30): 25})
    loads = {(v.working_set_bytes, v.page_bytes) for v in values if v.quantity == "load"}
    assert loads - slower.keys() == {(64, 4096), (128, 4096)}
    assert order[: 2 * penalty.BURSTS] == [(64, 0), (64, 1)] * penalty.BURSTS  # in turn, never one kind after the other


def test_without_huge_pages_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(penalty, "kinds", lambda: regions.kinds()[:1])
    measured = penalty.measure(1 << 20, lambda share: None)
    assert measured.values == []
    assert "not measured" in measured.remarks[-1]
