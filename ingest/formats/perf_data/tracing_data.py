"""The descriptions of trace events in a perf.data file: which ones are page events, and where their fields lie.

The section is what tools/perf/util/trace-event-info.c:tracing_data_get writes: the tracefs of the recorded machine,
file by file.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.formats.cursor import Cursor
from ingest.formats.perf_data.header import DAMAGED
from ingest.formats.ring_buffer.event_format import Flags, parse_format
from ingest.formats.ring_buffer.pages import COLUMNS, EVENTS, columns_of
from ptpool.errors import UsageError

MAGIC = b"\x17\x08\x44tracing"
UNKNOWN, OTHER = -2, -1  # in the table of events by number: no description; one that is no page event

_ID = re.compile(r"^ID: (\d{1,5})$", re.MULTILINE)
_MOST_EVENTS = 1 << 16  # common_type has 16 bits


class EventTable:
    """The trace events of a recording.

    Args:
        texts: system and ``format`` text of each.
        where: the file and the place in it, for messages.

    Attributes:
        of: row of `rows` by an event's number, or UNKNOWN, or OTHER.
        rows: [event, column of ingest.formats.ring_buffer.pages.columns_of].
        number: offset and size of the number in raw data.
        flags: names of GFP bits.

    Raises:
        UsageError: it is damaged, or from a kernel that recorded no page frame numbers (before 4.1).
    """

    def __init__(self, texts: Iterable[tuple[str, str]], where: str) -> None:
        self.of = np.full(_MOST_EVENTS, UNKNOWN, np.int16)
        self.rows: NDArray[np.int64] = np.zeros((len(EVENTS), COLUMNS), np.int64)
        self.number = (0, 2)
        self.flags: Flags | None = None
        found = 0
        for system, text in texts:
            number = _ID.search(text)
            if number is None or int(number[1]) >= _MOST_EVENTS:
                raise UsageError(f"{where}: an event of {system} has no number", DAMAGED)
            self.of[int(number[1])] = OTHER
            if system == "kmem" and found < len(EVENTS):
                event = parse_format(text, where)
                if event.name in EVENTS:
                    self.of[event.id] = found
                    self.rows[found] = columns_of(event)
                    self.number = event.number("common_type").offset, event.number("common_type").size
                    found += 1
                    if event.name == "mm_page_alloc":
                        self.flags = event.flags("gfp_flags")


def tracing_data(data: bytes, where: str) -> tuple[int, Iterator[tuple[str, str]]]:
    """The page size (bytes) of the recorded machine, and system and ``format`` text of every event described.

    Raises:
        UsageError: it is damaged.
    """
    if not data.startswith(MAGIC):
        raise UsageError(f"{where}: no descriptions of events", DAMAGED)
    cursor = Cursor(BytesIO(data), where)
    cursor.bytes(10)
    cursor.string()  # version
    cursor.order = "big" if cursor.number(1) else "little"
    cursor.bytes(1)  # size of a long
    return cursor.number(4), _formats(cursor)


def _formats(cursor: Cursor) -> Iterator[tuple[str, str]]:
    for name in ("header_page", "header_event"):
        if cursor.string() != name:
            raise UsageError(f"{cursor.where}: {name} is not where it should be", DAMAGED)
        cursor.bytes(cursor.number(8))
    for _ in range(cursor.number(4)):
        yield "ftrace", cursor.bytes(cursor.number(8)).decode("utf-8", "replace")
    for _ in range(cursor.number(4)):
        system = cursor.string()
        for _ in range(cursor.number(4)):
            yield system, cursor.bytes(cursor.number(8)).decode("utf-8", "replace")


def events_next_to(path: Path, guessed: Callable[[], list[str]]) -> EventTable:
    """The descriptions of events in a folder ``events`` next to the file, as in tracefs, for a perf that was killed.

    Args:
        path: the file.
        guessed: what to take in their place.

    Raises:
        UsageError: there are none.
    """
    found = sorted(path.absolute().parent.glob("events/*/*/format"))
    if not found:
        if texts := guessed():
            return EventTable((("kmem", text) for text in texts), str(path))
        raise UsageError(
            f"{path}: cut off, or perf was killed: its events are not described",
            "copy events/kmem of that machine's tracefs next to it: events/kmem/mm_page_alloc/format and so on",
        )
    return EventTable(
        ((file.parts[-3], file.read_text(errors="replace")) for file in found), str(path.parent / "events")
    )
