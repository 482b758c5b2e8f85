"""What to record, with which backend, and how large its buffers are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.recorder import perf
from ingest.recorder.tracefs import Tracefs
from ptpool.errors import UsageError
from ptpool.text import size

BACKENDS = ("tracefs", "perf")

_LARGEST_BUFFER, _SMALLEST_BUFFER = 64 << 20, 1 << 20  # bytes per CPU
_SHARE_OF_MEMORY = 16  # all buffers together take a sixteenth of the available memory


@dataclass(frozen=True)
class Plan:
    """What to record."""

    out: Path  # folder of the bundle
    command: Sequence[str] = ()
    seconds: float | None = None  # None: until COMMAND ends, or an interrupt
    backend: str | None = None  # tracefs or perf; None: the first that works
    buffer: int | None = None  # bytes per CPU; None: by memory and CPUs
    redact: bool = False  # leave out names of people, programs and files


def choose(wanted: str | None, tracefs: Tracefs) -> str:
    """The backend to record with: the one asked for, or the first that works here.

    Raises:
        UsageError: none works; the message has what is missing and the remedy.
    """
    reasons = {}
    for name in [wanted] if wanted else BACKENDS:
        reason = tracefs.missing() if name == "tracefs" else perf.missing(tracefs)
        if reason is None:
            return name
        reasons[name] = reason
    what = "; ".join(f"{name}: {reason}" for name, (reason, _) in reasons.items())
    remedies = dict.fromkeys(remedy for _, remedy in reasons.values())
    raise UsageError(f"nothing can be recorded here ({what})", "; or ".join(remedies))


def buffer_size(wanted: int | None, available: int, cpus: int) -> int:
    """Bytes of buffer per CPU, a power of two: 64M, or less where all would take more than 1/16 of available memory.

    Raises:
        UsageError: the buffers asked for would take more than half of it.
    """
    if wanted is not None and wanted * cpus > available // 2:
        raise UsageError(
            f"--buffer: {wanted >> 20}M for each of {cpus} CPUs is more than half of the available memory",
            f"ask for at most {size(available // 2 // cpus)}",
        )
    fair = wanted or min(max(available // _SHARE_OF_MEMORY // cpus, _SMALLEST_BUFFER), _LARGEST_BUFFER)
    return 1 << fair.bit_length() - 1
