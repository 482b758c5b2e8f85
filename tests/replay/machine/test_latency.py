"""Latencies: buckets, and quantiles that need enough samples."""

from replay.machine.latency import Latencies, bucket


def test_latency_quantiles_need_samples_enough():
    latencies = Latencies()
    latencies.add("ptp_alloc", 50, 999)
    assert latencies.quantile("ptp_alloc", 0.5) == bucket(50)
    assert latencies.quantile("ptp_alloc", 0.99) is None
    latencies.add("ptp_alloc", 5_000)
    assert latencies.quantile("ptp_alloc", 0.99) == bucket(50)
    latencies.add("ptp_alloc", 5_000, 10)
    assert latencies.quantile("ptp_alloc", 0.99) == bucket(5_000)
    assert latencies.quantile("refill", 0.5) is None


def test_buckets_are_a_fifth_wide():
    assert bucket(0) == 0
    assert all(bucket(ns) <= ns < bucket(ns) * 1.25 + 2 for ns in range(1, 5_000))
