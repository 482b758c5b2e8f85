"""Time stamps of a recording to ns, as trace-cmd does it (lib/trace-cmd/trace-input.c:timestamp_calc)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTERS = ("counter", "uptime", "x86-tsc", "ppc-tb")
"""Clocks of kernel/trace/trace.c:trace_clocks whose stamps are not ns."""


@dataclass
class Clock:
    """From time stamps to ns: (stamps × mult) >> shift, plus an offset; mult 0: they are ns.

    `samples` convert a guest's stamps to its host's: by CPU, rows of time, offset, scaling and fraction bits.
    """

    name: str = "local"  # as trace_clock calls it
    mult: int = 0
    shift: int = 0
    offset: int = 0  # ns
    samples: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    interpolate: bool = False  # offsets between two samples (TRACECMD_TSYNC_FLAG_INTERPOLATE)

    @property
    def counts(self) -> bool:
        """Whether the stamps are a count that cannot be converted to ns."""
        return self.name in COUNTERS and not self.mult

    @property
    def converts(self) -> bool:
        """Whether `to_ns` changes anything."""
        return bool(self.mult or self.offset or self.samples)

    def to_ns(self, stamps: NDArray[np.int64], cpu: int) -> NDArray[np.int64]:
        """Stamps of one CPU in ns, clipped to 0 and the largest int64."""
        exact: Any = stamps.astype(object)  # Python integers: 128 bits where a product needs them
        if cpu in self.samples:
            exact = self._host(exact, self.samples[cpu])
        if self.mult:
            exact = exact * self.mult >> self.shift
        exact = np.clip(exact + self.offset, 0, np.iinfo(np.int64).max)
        return np.asarray(exact, np.int64)

    def _host(self, stamps: Any, samples: NDArray[np.int64]) -> Any:
        if len(samples) == 1:
            return stamps + int(samples[0, 1])
        last = len(samples) - 2
        at = np.clip(np.searchsorted(samples[:, 0], stamps.astype(np.int64), side="right") - 1, 0, last)
        low, high = samples[at].astype(object), samples[at + 1].astype(object)
        correction = low[:, 1]
        if self.interpolate:
            span = high[:, 0] - low[:, 0]
            correction = correction + ((stamps - low[:, 0]) * (high[:, 1] - low[:, 1]) + span // 2) // span
        return (stamps * low[:, 2] >> low[:, 3]) + correction
