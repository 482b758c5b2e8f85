"""What a permission change costs: the arithmetic, on times that are made up."""

import errno

import pytest

from replay.calibrate import conversion


def test_a_change_is_the_difference_of_neighbours():
    drift, order = iter(range(10**6)), []

    def take(busy, secret):
        order.append((busy, secret))
        return 1000.0 + 20_000 * secret + 100 * busy * secret + next(drift)  # the machine gets slower all the time

    values = conversion.price([0, 2], take, lambda share: None)
    changes = {v.busy_cpus: v.median for v in values if v.quantity == "permission_change"}
    assert changes == pytest.approx({0: 20_000, 2: 20_200}, abs=1)
    assert order[:8] == [(0, True), (0, False), (2, True), (2, False), (0, False), (0, True), (2, False), (2, True)]


@pytest.mark.parametrize(("others", "busy"), [(0, [0]), (1, [0, 1]), (5, [0, 1, 2, 4, 5]), (8, [0, 1, 2, 4, 8])])
def test_numbers_of_busy_cpus(others, busy):
    assert conversion.counts(others) == busy


def test_without_secret_memory_the_rest_goes_on(monkeypatch):
    def none():
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(conversion, "secret_memory", none)
    measured = conversion.measure(lambda share: None)
    assert measured.values == []
    (remark,) = measured.remarks
    assert "secretmem.enable=1" in remark and "not measured" in remark
