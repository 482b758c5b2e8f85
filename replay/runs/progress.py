"""How far the runs have come: workers write it into files, the command that waits for them reads it and warns."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from replay.machine.state import State
from replay.runs.run import Run

_EVERY_S = 0.5
_EARLY_S = 10.0  # when a run is judged
_LONG_S = 120.0  # what is worth a warning
_STALLS = 0.001  # of all events: above, memory is short


class Progress:
    """Writes how far one run has come: share of its events, events, stalls."""

    def __init__(self, path: Path, state: State) -> None:
        self._path, self._state, self._due = path, state, 0.0

    def __call__(self, at: int) -> None:
        """Called with the event that the run has come to."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _EVERY_S
            share = at / max(len(self._state.demand.program.op), 1)
            with suppress(OSError):
                self._path.write_text(f"{share} {at} {self._state.stalls}")


class Watch:
    """Reads it: see `look`.

    Args:
        folder: where the runs write.
        runs: by run_id.
        say: takes a warning.
    """

    def __init__(self, folder: Path, runs: Mapping[str, Run], say: Callable[[str], None]) -> None:
        self._folder, self._runs, self._say = folder, runs, say
        self._began: dict[str, float] = {}
        self._warned: set[str] = set()

    def look(self, now: float) -> float:
        """How many runs are done of those under way, as the sum of their shares; warns once of each that takes long.

        Args:
            now: time, s.
        """
        total = 0.0
        for path in self._folder.iterdir():
            try:
                share, at, stalls = (float(word) for word in path.read_text().split())
            except (OSError, ValueError):  # it has just ended, or is being written
                continue
            total += share
            elapsed = now - self._began.setdefault(path.name, now)
            left = elapsed * (1 - share) / max(share, 1e-9)
            if elapsed >= _EARLY_S and left > _LONG_S and path.name not in self._warned:
                self._warned.add(path.name)
                self._say(_warning(self._runs[path.name], share, left, stalls if stalls > _STALLS * at else 0))
        return total

    def ended(self, run_id: str) -> None:
        """A run is not under way any more."""
        (self._folder / run_id).unlink(missing_ok=True)


def _warning(run: Run, share: float, left: float, stalls: float) -> str:
    text = f"{run.capture['name']}, {run.entry.name}: {100 * share:.1f} % done, about {max(left / 60, 1):,.0f} min left"
    if stalls:
        text += (
            f"; memory is short on this machine ({stalls:,.0f} allocations had to reclaim, compact or kill): "
            "a larger --machine is faster"
        )
    return f"{text}; Ctrl-C ends it, and finished runs are kept"
