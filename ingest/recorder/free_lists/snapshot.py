"""The snapshot free_lists of one moment, and how often it is read to get it."""

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingest.recorder.free_lists.allocator import Allocator, Layout
from ingest.recorder.free_lists.errors import DAMAGE, UnreadableError, reason
from ingest.recorder.free_lists.kcore import Kcore
from ingest.recorder.free_lists.reading import Reading, read_lists


@dataclass
class Snapshot:
    """Rows of the lists, and what free_lists.json says; no address of the kernel is in either."""

    reading: Reading
    notes: dict[str, Any]

    def json(self) -> bytes:
        """The text of free_lists.json."""
        return (json.dumps(self.notes, indent=1) + "\n").encode()


class FreeLists:
    """Reads the lists of a machine whose file system begins at `root`.

    What can be found out beforehand is found out once. A first reading is thrown away: it takes the memory that the
    others then need no more (50 to 1,300 page faults, then few), so they do not disturb what they read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.cost = ""  # what cannot be read, why, and what a replay loses by that
        try:
            self._layout: Layout | None = Layout(root)
            if not self.read().notes["cpus"]:
                self.cost = "the CPUs' free lists cannot be read (/proc/kallsyms hides them): a replay guesses them"
        except DAMAGE as error:
            self._layout = None
            self.cost = f"the free lists cannot be read ({reason(error)}): a replay draws the order of free blocks"

    def read(self) -> Snapshot:
        """Read them, with the zones and sections of now: memory may have been plugged in.

        Raises:
            UnreadableError: this kernel cannot be read, or not any more.
        """
        if self._layout is None:
            raise UnreadableError(self.cost)
        try:
            with closing(Kcore(self._root / "proc/kcore")) as kcore:
                allocator = Allocator(kcore, self._layout, self._root)
                reading = read_lists(allocator)
                zones = [asdict(zone) for zone in allocator.zones]
                for zone in zones:
                    del zone["address"]
                notes = {"zones": zones, "types": self._layout.migratetypes, "cpus": len(allocator.cpu_offsets)}
                return Snapshot(reading, notes | {"seconds": round(reading.seconds, 3)} | asdict(reading.counts))
        except DAMAGE as error:
            raise UnreadableError(reason(error)) from error
