"""Progress on standard error: a bar on a terminal, otherwise a plain line every few seconds; nothing when quiet."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ptpool.text import tell

_EVERY_S = 3.0


class Meter(Protocol):
    """Takes reports of how far the work has come."""

    def __call__(self, done: float, note: str = "") -> None:
        """Report `done` units of the total, and what is being done now."""


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False, unit: str = "") -> Iterator[Meter]:
    """Show progress towards `total` units while the block runs."""
    if quiet:
        yield lambda done, note="": None
    elif sys.stderr.isatty():
        with _bar(title, total) as meter:
            yield meter
    else:
        yield _Lines(title, total, unit)


@contextmanager
def _bar(title: str, total: float) -> Iterator[Meter]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=total, note="")
        yield lambda done, note="": bars.update(task, completed=done, note=note)


class _Lines:
    """The plain form, for logs and pipes: silent for the first seconds; the time left assumes the rate so far."""

    def __init__(self, title: str, total: float, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._began = self._said = time.monotonic()

    def __call__(self, done: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._said < _EVERY_S:
            return
        self._said = now
        said = [note or f"{done:,.0f} {self._unit}".rstrip()]
        if self._total:
            said = [f"{100 * done / self._total:.0f} %", *([note] if note else [])]
            if done:
                said.insert(1, f"about {(now - self._began) / done * (self._total - done):,.0f} s left")
        tell(f"{self._title}: {', '.join(said)}")
