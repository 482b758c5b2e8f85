"""Sweeps: which settings matter."""

import duckdb
import pandas as pd
from matplotlib.figure import Figure

from reports.case import Case
from reports.section import Drawn, Section
from reports.style import INK, WIDTH, written
from reports.tables import frame

METRICS = {
    "pool_idle_pages_mean": "idle pages\nin pools",
    "splits_2m": "splits of\nPMD leaves",
    "stalls": "stalls",
    "conversion_ns": "conversion\ntime",
    "ptp_nulls": "tables not\nsupplied",
    "split_starvations": "starved\nsplits",
}
_ROWS = 30


def draw_shares(shares: pd.DataFrame) -> Figure:
    """One row per sweep and setting, one column per metric: the share of its variance that the setting explains.

    Args:
        shares: sweep, setting, metric, share.
    """
    order = list(dict.fromkeys(zip(shares["sweep"], shares["setting"], strict=True)))
    wide = shares.pivot(index=["sweep", "setting"], columns="metric", values="share").reindex(order)[list(METRICS)]
    figure = Figure(figsize=(WIDTH, 0.95 + 0.27 * len(wide)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(wide, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for place, row in enumerate(wide.to_numpy()):
        for column, share in enumerate(row):
            text = f"{share:.0%}" if share >= 0.005 else "·"
            axis.text(
                column, place, text, ha="center", va="center", fontsize=8.5, color="white" if share > 0.6 else INK
            )
    axis.set_xticks(range(len(METRICS)), list(METRICS.values()))
    axis.set_yticks(range(len(wide)), [f"{sweep}: {setting}" for sweep, setting in wide.index])
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axis.grid(visible=False)
    return figure


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["sweep_sensitivity"]
    rows = frame(answer)
    if rows.empty:
        return [Drawn("No sweep was run on this recording: `ptpool replay sweep` does that.")]
    said = (
        "How much of a metric's variance each setting explains by itself: the mean over the strategies that have it; a dot: "
        "none. What settings do only in combination is in no row, and the seed's share is chance."
    )
    images = written(draw_shares(rows[rows.groupby(["sweep", "setting"], sort=False).ngroup() < _ROWS]))
    return [Drawn(said, "sweep-sensitivity", answer, images)]


SECTION = Section("sweeps", "Which settings matter?", figures=_figures)
