"""A placement replay as a run: page tables over time where they really were, and what could not be reconstructed."""

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from replay.machine.results import RunResult
from replay.machine.tally import SAMPLES
from replay.start.pages import PGTABLE, page_flags_of
from replay.validate.placement import replay_placement


def placement_result(connection: duckdb.DuckDBPyConnection, capture: dict[str, Any]) -> RunResult:
    """Metrics and timeline of a capture with every event at its recorded place; contradictions are its assumptions."""
    events = connection.execute(
        """SELECT ts_ns, kind = 'free' AS is_free, pfn, page_order,
                  coalesce(consumer IN ('pgtable_user', 'pgtable_kernel'), false) AS is_table
           FROM page_event WHERE capture_id = ? AND kind IN ('alloc', 'free') AND pfn IS NOT NULL ORDER BY seq""",
        [capture["capture_id"]],
    ).fetchnumpy()
    is_free, is_table = np.asarray(events["is_free"]), np.asarray(events["is_table"])
    pages = np.int64(1) << np.asarray(events["page_order"]).astype(np.int64)
    before = page_flags_of(connection, capture["capture_id"], "before", 1)
    start = None if before is None else int(((before & PGTABLE) != 0).sum())
    live = (start or 0) + np.cumsum(np.where(is_table, np.where(is_free, -pages, pages), 0))
    touched = np.asarray(events["pfn"])[is_table & ~is_free] * capture["page_size"] >> 21
    metrics: dict[str, float | None] = {
        "ptp_allocs": float((is_table & ~is_free).sum()),
        "ptp_frees": float((is_table & is_free).sum()),
        "ptp_live_start": start,
        "ptp_live_peak": float(live.max(initial=start or 0)),
        "blocks_touched": float(len(np.unique(touched))),
    }
    at = np.unique(np.linspace(0, len(live) - 1, min(SAMPLES, len(live))).astype(np.int64))
    placement = replay_placement(connection, capture)
    return RunResult(
        tables={
            "run_metric": pa.table({"metric": list(metrics), "value": pa.array(list(metrics.values()), pa.float64())}),
            "timeline": pa.table(
                {
                    "t_ns": np.asarray(events["ts_ns"])[at],
                    "metric": pa.array(["ptp_live"] * len(at), pa.string()),
                    "value": live[at].astype(np.float64),
                }
            ),
        },
        assumptions=["Every event is put at its recorded place; nothing is decided by a model."]
        + [f"{item.pages:,} pages: {item.what}. {item.explanation}" for item in placement.contradictions],
        events=len(live),
    )
