"""What to record, with which backend, and how large its buffers are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.recorder import perf
from ingest.recorder.tracefs import Tracefs
from ptpool.errors import UsageError

BACKENDS = ("tracefs", "perf")

_LARGEST_BUFFER, _SMALLEST_BUFFER = 64 << 20, 1 << 20  # bytes per CPU
_SHARE_OF_MEMORY = 16  # all buffers together take a sixteenth of the available memory


@dataclass(frozen=True)
class Plan:
    """What to record.

    Args:
        out: the bundle to make.
        command: what to run meanwhile; empty: nothing.
        seconds: when to end at the latest; None: when COMMAND ends, or at an interrupt.
        backend: tracefs or perf; None: the first that works.
        buffer: bytes per CPU; None: by memory and CPUs.
        redact: leave out what tells about people.
    """

    out: Path
    command: Sequence[str] = ()
    seconds: float | None = None
    backend: str | None = None
    buffer: int | None = None
    redact: bool = False


def choose(wanted: str | None, tracefs: Tracefs) -> str:
    """The backend that works here; where one is asked for, that one.

    Raises:
        UsageError: none does, with what is missing and the remedy.
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
    """Bytes of buffer per CPU, a power of two: 64 MiB if all take a sixteenth of the available memory at most.

    Raises:
        UsageError: those asked for would take more than half of it.
    """
    if wanted is not None and wanted * cpus > available // 2:
        raise UsageError(
            f"--buffer: {wanted >> 20} MiB for each of {cpus} CPUs is more than half of the available memory",
            f"ask for at most {available // 2 // cpus >> 20}M",
        )
    fair = wanted or min(max(available // _SHARE_OF_MEMORY // cpus, _SMALLEST_BUFFER), _LARGEST_BUFFER)
    return 1 << fair.bit_length() - 1
