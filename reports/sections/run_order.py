"""What allocations went through."""

from typing import Any

import duckdb
import numpy.typing as npt

from reports.case import Case
from reports.figures import run_order
from reports.formats import count, listed
from reports.section import Drawn, Section
from reports.style import alike, written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["run_order"]
    rows = frame(answer)
    if rows.empty or not rows[list(run_order.FLAGS)].to_numpy().any():
        return [Drawn("Nothing but plain success at any order: no allocation found its zones below the low watermark.")]
    totals = {name: part[list(run_order.FLAGS)].sum().to_numpy() for name, part in rows.groupby("strategy", sort=False)}
    for name in case.metrics:
        totals.setdefault(name, rows.head(0)[list(run_order.FLAGS)].sum().to_numpy())
    said = [
        f"{listed(names)}: {_passed(totals[first])}"
        for first, names in alike({str(n): v for n, v in totals.items()}).items()
    ]
    return [Drawn(f"{'; '.join(said)}.", "allocations", answer, "run-order", written(run_order.draw(rows)))]


def _passed(values: npt.NDArray[Any]) -> str:
    what = dict(zip(run_order.FLAGS, values, strict=True))
    compacted, nothing = what["compact_async"] + what["compact_sync"], what["null"]
    parts = [
        count(what["kswapd"], "wake-up of kswapd", "wake-ups of kswapd"),
        count(compacted, "entry into compaction", "entries into compaction"),
        count(what["reclaim"], "entry into reclaim", "entries into reclaim"),
        count(nothing, "NULL", "NULLs"),
    ]
    return listed(parts) if values.any() else "plain success alone"


SECTION = Section("run_order", figures=_figures)
