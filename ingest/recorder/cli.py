"""The command `ptpool ingest capture`: options become a plan, and what was recorded is printed."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ingest.recorder.plan import BACKENDS, Plan
from ingest.recorder.recording import RecordingSummary, record
from ptpool.errors import UsageError
from ptpool.options import note, say
from ptpool.text import bytes_of

_STANDARD_ERROR = 2


def capture_command(
    command: Sequence[str],
    out: Path | None,
    backend: str | None,
    seconds: float | None,
    buffer: str,
    *,
    redact: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Record a bundle and print what is in it.

    Raises:
        UsageError: an option is wrong, or nothing can be recorded.
    """
    if backend is not None and backend not in BACKENDS:
        raise UsageError(f"--backend {backend}: no such backend", f"there are: {', '.join(BACKENDS)}")
    out = out or Path(datetime.now(UTC).strftime("capture-%Y%m%d-%H%M%S"))
    plan = Plan(out, command, seconds, backend, _size(buffer) if buffer else None, redact)
    done = record(plan, quiet=quiet, output=_STANDARD_ERROR if as_json else None)
    if as_json:
        say(json.dumps({"bundle": str(out), **asdict(done)}, indent=2))
    else:
        for line in _said(out, done):
            say(line)
    note(f"next: ptpool ingest trace {out}", quiet=quiet)


def _size(text: str) -> int:
    size = bytes_of(text) or 0
    if not 1 << 16 <= size < 1 << 40:
        raise UsageError(f"--buffer {text}: not a size of 64K to 1T", "write it like 64M: bytes per CPU")
    return size


def _said(out: Path, done: RecordingSummary) -> list[str]:
    lost = f"{done.lost_events:,} lost" if done.lost_events else "none lost"
    lines = [f"{out}: about {done.events:,} events, {lost}, {done.bytes / 1e6:,.1f} MB, {done.seconds:.1f} s"]
    if done.exit_status is not None:
        how = f"status {done.exit_status}" if done.exit_status >= 0 else f"signal {-done.exit_status}"
        lines.append(
            f"  the command ended with {how}{'' if done.ended_by == 'command' else ' when the recording stopped it'}"
        )
    if done.lost_events:
        lines.append(f"  events were lost: --buffer {max(done.buffer_bytes_per_cpu >> 18, 1)}M may hold them")
    if done.missing:
        lines.append(f"  missing or not readable: {', '.join(done.missing)}")
    if not done.redacted:
        lines.append(
            "  the bundle has names of tasks and of the host, command lines and swap files; --redact leaves them out"
        )
    return lines
