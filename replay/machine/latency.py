"""How long operations took: counts by bucket, and quantiles where there are samples enough."""

import math

STEPS = 4
"""Buckets of a doubling: a bucket is 19 % wide."""


class Latencies:
    """Counts by operation and bucket."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def add(self, operation: str, ns: int, count: int = 1) -> None:
        """Book `count` operations that took this long."""
        if count:
            key = operation, bucket(ns)
            self.counts[key] = self.counts.get(key, 0) + count

    def quantile(self, operation: str, q: float) -> int | None:
        """Lower bound of the bucket with the q-quantile, ns; None with fewer than 10 / (1 - q) samples."""
        found = sorted((ns, count) for (name, ns), count in self.counts.items() if name == operation)
        total = sum(count for _, count in found)
        if total < round(10 / (1 - q)):
            return None
        passed = 0
        for ns, count in found:
            passed += count
            if passed >= q * total:
                return ns
        return None


def bucket(ns: int) -> int:
    """Lower bound of the bucket that holds a time, ns."""
    return 0 if ns < 1 else math.floor(2 ** (math.floor(math.log2(ns) * STEPS) / STEPS))
