"""Which event a sample belongs to: the layouts of all attributes, and the ids by which samples name theirs."""

import numpy as np
from numpy.typing import NDArray

from ingest.formats.perf_data.header import DAMAGED, MOST_IDS, Attribute
from ingest.formats.perf_data.layout import COLUMNS, L_RAW, L_TIME, L_TRACEPOINT, id_place, layout_of
from ingest.formats.perf_data.records import enter_ids
from ingest.spans import doubled, new_names
from ptpool.errors import UsageError

MOST = 4096  # attributes: all trace events of a kernel are some two thousand


class Layouts:
    """The attributes that are known so far.

    Attributes:
        rows: [attribute, column L_...].
        ids: id to row.
        id_at: where every sample has its id; 0: all have the layout of the first row.
    """

    def __init__(self) -> None:
        self.rows: NDArray[np.int64] = np.zeros((0, COLUMNS), np.int64)
        self.ids = new_names(1 << 4)
        self.id_at = 0
        self._entered = 0
        self._places: set[int] = set()

    def add(self, attribute: Attribute, where: str) -> None:
        """Add an attribute.

        Raises:
            UsageError: its samples cannot be distinguished from others, or lack what trace events need.
        """
        row = np.array([layout_of(attribute)], np.int64)
        if row[0, L_TRACEPOINT]:
            for column, name, remedy in ((L_TIME, "time", "perf record -T"), (L_RAW, "raw data", "perf record -R")):
                if not row[0, column]:
                    raise UsageError(f"{where}: the samples of a trace event have no {name}", f"record with {remedy}")
        if len(self.rows) == MOST:
            raise UsageError(f"{where}: more than {MOST:,} attributes", DAMAGED)
        self._places.add(id_place(attribute.sample_type))
        self.id_at = self._places.copy().pop() if len(self._places) == 1 else 0
        if not self.id_at and len(self.rows) and (self.rows[:1] != row).any():
            raise UsageError(
                f"{where}: samples of different layouts that do not name their event",
                "record with perf record --sample-identifier",
            )
        self.rows = np.concatenate([self.rows, row])
        self._entered += len(attribute.ids)
        if self._entered > MOST_IDS:
            raise UsageError(f"{where}: more than {MOST_IDS:,} numbers of events", DAMAGED)
        while 2 * self._entered >= len(self.ids):
            self.ids = doubled(self.ids)
        enter_ids(self.ids, attribute.ids.view(np.int64), len(self.rows) - 1)
