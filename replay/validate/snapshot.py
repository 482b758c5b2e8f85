"""The model compared with the machine's own snapshots: what an unprotected replay predicts for after the recording.

Each prediction is compared with the null prediction: that nothing changed since before the recording.
"""

from collections import defaultdict
from dataclasses import astuple, dataclass
from typing import Any

import duckdb
import numpy as np

from ptpool.errors import UsageError
from ptpool.run_settings import RunSettings
from ptpool.vocabulary import MIGRATETYPES
from ptpool.warehouse import transaction
from replay.contract.registry import strategies
from replay.demand.pgds import RECORDED
from replay.kernel import direct_map as maps
from replay.kernel.mmzone import HOLE, PCP_COUNT
from replay.machine.machine import Machine
from replay.machine.state import State
from replay.machine.tally import PTP_LIVE
from replay.runs.run import Run
from replay.runs.scene import Scenes
from replay.start.zones import ZONE_CLASS
from replay.validate.placement import Placement

Quantity = tuple[str, str | None, int | None]
"""What is compared, the zone (None: the machine) and the order (None: all)."""

ALLOWED_SHARE, ALLOWED_BLOCKS = 0.25, 32
"""A prediction holds if its error is within this share of the recorded change, or within this many."""

_TARGETS = ("free_pages", "huge_blocks_free", "free_blocks")
"""Quantities that are judged; the others are only shown."""


@dataclass(frozen=True)
class Comparison:
    """One quantity as recorded before and after, and as predicted for after: with seed 0, and the range over seeds."""

    quantity: str
    zone: str | None
    page_order: int | None
    recorded_before: float
    recorded_after: float
    predicted: float
    predicted_low: float
    predicted_high: float

    @property
    def null_error(self) -> float:
        """Error of predicting that nothing changes."""
        return abs(self.recorded_after - self.recorded_before)

    @property
    def model_error(self) -> float:
        """Error of the model."""
        return abs(self.recorded_after - self.predicted)

    @property
    def allowed_error(self) -> float | None:
        """Largest error at which the prediction holds; None: no target for this quantity."""
        return max(ALLOWED_SHARE * self.null_error, ALLOWED_BLOCKS) if self.quantity in _TARGETS else None


def compare(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any], seeds: int) -> list[Comparison]:
    """Replay a capture without protection, once per seed, and compare the result with the snapshot from after.

    Raises:
        UsageError: the capture has no snapshot from after the recording, or was imported in part.
    """
    name = capture["name"]
    if capture["window_from_ns"] is not None or capture["window_to_ns"] is not None:
        raise UsageError(
            f"capture {name}: imported in part, so its snapshots are not of its first and last event",
            f"import all of it: ptpool ingest trace FILE --name {name} --replace",
        )
    if name not in comparable(connection):
        raise UsageError(
            f"capture {name}: nothing to compare with",
            "import its trace with the folders before/ and after/ next to it (copies of files of /proc)",
        )
    scenes, entry = Scenes(connection, 1), strategies()["unprotected"]
    predictions = []
    for seed in range(seeds):
        demand, start = scenes.of([Run(capture, entry, entry.factory(), RunSettings(pti=RECORDED, seed=seed))])
        machine = Machine(State(start, demand, entry.factory()))
        machine.replay()
        predictions.append(_predicted(machine))
    huge = machine.state.allocator.pageblock_order
    recorded = connection.execute(_RECORDED, {"capture": capture["capture_id"], "huge": huge}).fetchall()
    rows = []
    for quantity, zone, page_order, before, after in recorded:
        values = [predicted.get((quantity, zone, page_order)) for predicted in predictions]
        known = [value + before if quantity in _GROWTH else value for value in values if value is not None]
        if known:
            rows.append(
                Comparison(quantity, zone, page_order, before, after, known[0], float(min(known)), float(max(known)))
            )
    return rows


def comparable(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the captures that were imported whole, with a snapshot from after the recording."""
    rows = connection.execute(
        """SELECT DISTINCT name FROM capture JOIN free_blocks USING (capture_id)
           WHERE window_from_ns IS NULL AND window_to_ns IS NULL AND moment = 'after' ORDER BY name"""
    )
    return [name for (name,) in rows.fetchall()]


def keep(
    connection: duckdb.DuckDBPyConnection, capture_id: str, comparisons: list[Comparison], placement: Placement
) -> None:
    """Write a capture's comparisons and contradictions, replacing earlier ones."""
    with transaction(connection):
        connection.execute("DELETE FROM contradiction WHERE capture_id = ?", [capture_id])
        if placement.contradictions:
            connection.executemany(
                "INSERT INTO contradiction VALUES (?, ?, ?, ?, ?, ?)",
                [(capture_id, *item, item.explained, item.explanation) for item in placement.contradictions],
            )
        connection.execute("DELETE FROM validation WHERE capture_id = ?", [capture_id])
        if not comparisons:
            return
        connection.executemany(
            """INSERT INTO validation (capture_id, quantity, zone, page_order, recorded_before, recorded_after,
                   predicted, predicted_low, predicted_high, null_error, model_error, allowed_error)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            [
                (capture_id, *astuple(item), item.null_error, item.model_error, item.allowed_error)
                for item in comparisons
            ],
        )


_GROWTH = ("page_table_pages", "splits_2m", "splits_1g", "oom_kills")
"""Counters: the model predicts their growth."""


def _predicted(machine: Machine) -> dict[Quantity, float]:
    """What the machine holds after the last event, by the names of `_RECORDED`."""
    allocator = machine.state.allocator
    huge = allocator.pageblock_order
    names = {code: name for name, code in ZONE_CLASS.items()}
    on_lists = allocator.pcp[:, PCP_COUNT].reshape(len(allocator.zones), -1).sum(axis=1)
    found: defaultdict[Quantity, float] = defaultdict(float)

    def add(quantity: str, zone: str | None, order: int | None, value: float) -> None:
        found[quantity, zone, order] += float(value)  # zones of one name add up over nodes

    for place, (first, last, code, _) in enumerate(allocator.zones):
        zone = names[int(code)]
        add("free_pages", zone, None, allocator.free_pages[place])
        add("free_and_pcp_pages", zone, None, allocator.free_pages[place] + on_lists[place])
        add("pcp_pages", zone, None, on_lists[place])
        for order in range(allocator.max_order + 1):
            add("free_blocks", zone, order, allocator.nr_free[place, order])
            if order >= huge:
                add("huge_blocks_free", zone, None, int(allocator.nr_free[place, order]) << order - huge)
        blocks = np.arange(first >> huge, (last >> huge) + 1)
        populated = allocator.kind[np.clip(blocks << huge, first, last)] != HOLE
        types = allocator.block_type[blocks[populated]]
        for migratetype, name in enumerate(MIGRATETYPES):
            add(f"{name.lower()}_pageblocks", zone, None, (types == migratetype).sum())
    log = machine.state.direct_map.log[: machine.state.direct_map.counts[maps.SPLITS]]
    add("splits_2m", None, None, (log[:, 2] == maps.PMD).sum())
    add("splits_1g", None, None, (log[:, 2] == maps.PUD).sum())
    add("oom_kills", None, None, machine.state.incident_counts.get("oom_kill", 0))
    add("page_table_pages", None, None, int(machine.state.tally.counts[PTP_LIVE]) - machine.baseline.page_tables)
    return found


_RECORDED = """
WITH value AS (
    SELECT moment, 'free_blocks' AS quantity, zone, page_order, blocks AS value
    FROM free_blocks WHERE capture_id = $capture AND migratetype IS NULL
    UNION ALL SELECT moment, 'free_pages', zone, NULL, blocks << page_order
    FROM free_blocks WHERE capture_id = $capture AND migratetype IS NULL
    UNION ALL SELECT moment, 'huge_blocks_free', zone, NULL, blocks << (page_order - $huge)
    FROM free_blocks WHERE capture_id = $capture AND migratetype IS NULL AND page_order >= $huge
    UNION ALL SELECT moment, lower(migratetype::VARCHAR) || '_pageblocks', zone, NULL,
           round(blocks * 2.0 ** (coalesce(pageblock_order, $huge) - $huge))::BIGINT
    FROM pageblocks JOIN capture USING (capture_id) WHERE capture_id = $capture
    UNION ALL SELECT moment, 'free_and_pcp_pages', zone, NULL, blocks << page_order
    FROM free_blocks WHERE capture_id = $capture AND migratetype IS NULL
    UNION ALL SELECT moment, 'free_and_pcp_pages', zone, NULL, value
    FROM pageset WHERE capture_id = $capture AND name = 'count'
    UNION ALL SELECT moment, 'pcp_pages', zone, NULL, value
    FROM pageset WHERE capture_id = $capture AND name = 'count'
    UNION ALL SELECT moment, counter.quantity, NULL, NULL, value
    FROM snapshot_value JOIN (VALUES ('nr_page_table_pages', 'page_table_pages'), ('oom_kill', 'oom_kills'),
                      ('direct_map_level2_splits', 'splits_2m'), ('direct_map_level3_splits', 'splits_1g'))
         AS counter (name, quantity) USING (name)
    WHERE capture_id = $capture AND source = 'vmstat')
SELECT quantity, zone, page_order, sum(value) FILTER (moment = 'before')::DOUBLE AS recorded_before,
       sum(value) FILTER (moment = 'after')::DOUBLE AS recorded_after
FROM value GROUP BY ALL
HAVING recorded_before IS NOT NULL AND recorded_after IS NOT NULL
ORDER BY quantity, zone, page_order
"""
