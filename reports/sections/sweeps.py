"""Sweeps: what each point holds and takes, which points none beats, and which settings matter."""

import duckdb
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.case import Case
from reports.formats import count, listed
from reports.section import Drawn, Section
from reports.style import INK, QUIET, WIDTH, colour, labels_beside, marker, symlog, thousands, written
from reports.tables import frame

METRICS = {
    "pool_idle_pages_mean": "idle pages\nin pools",
    "splits_2m": "splits of\nPMD leaves",
    "stalls": "stalls",
    "conversion_ns": "conversion\ntime",
    "ptp_nulls": "tables not\nsupplied",
    "split_starvations": "starved\nsplits",
}
_NAMES = 4
_PANELS, _ROWS = 8, 30


def sentences(case: Case) -> list[str]:
    """What each sweep consisted of, how many of its points protect, and where none does."""
    said = []
    for sweep, mine in frame(case.answers["sweep_points"]).groupby("sweep", sort=False):
        places = mine.groupby("replayed_on", sort=False)["protects"]
        none = [str(place) for place, protects in places if not protects.any()]
        least, most = int(mine["runs"].min()), int(mine["runs"].max())
        seeds = f"{least} to {most} seeds" if least < most else count(most, "seed")
        said.append(
            f"`{sweep}`: {count(len(mine), 'point')} ({seeds} each), {int(mine['protects'].sum())} protect, "
            f"{int(mine['on_front'].sum())} unbeaten." + (f" Nothing protects on {listed(none)}." if none else "")
        )
    return said


def draw_fronts(points: pd.DataFrame) -> Figure:
    """One panel per sweep and machine; coloured and named: unbeaten in four costs; crosses: failed.

    Args:
        points: sweep, replayed_on, strategy, brief, pages_held, splits, stalls, conversion_ns, protects, on_front.
    """
    groups = points.groupby(["sweep", "replayed_on"], sort=False)
    rows = -(-len(groups) // 2)
    figure = Figure(figsize=(WIDTH, 2.5 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False)
    for spare in grid.flat[len(groups) :]:
        spare.remove()
    for axis, ((sweep, replayed_on), mine) in zip(grid.flat, groups, strict=False):
        axis.set_title(f"{sweep}: {replayed_on}", fontsize=9)
        _scales(axis, mine)
        _draw_points(axis, mine)
        axis.set_xlabel("memory held, pages")
        axis.set_ylabel("conversion time, ms")
    return figure


def _draw_points(axis: Axes, mine: pd.DataFrame) -> None:
    alone = mine["strategy"].nunique() == 1
    named: dict[tuple[float, float, int | None, int], list[tuple[str, str]]] = {}
    for row in mine.to_dict("records"):
        x, y, name = row["pages_held"], row["conversion_ns"] / 1e6, row["strategy"]
        splits = None if pd.isna(row["splits"]) else round(row["splits"])
        if row["on_front"]:
            axis.plot(x, y, marker(name), color=colour(name), markersize=7, zorder=3)
            label = row["brief"] if alone and row["brief"] else f"{name} {row['brief']}".strip()
            named.setdefault((x, y, splits, round(row["stalls"])), []).append((label, name))
        else:
            axis.plot(x, y, "o" if row["protects"] else "x", color=QUIET, markersize=4.5, zorder=1)
    labels_beside(
        axis, [(x, y, _label([text for text, _ in those], splits, stalls), colour(those[0][1]))
               for (x, y, splits, stalls), those in named.items()], 0.07,
    )  # fmt: skip


def _label(names: list[str], splits: int | None, stalls: int) -> str:
    shown = "; ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")
    words = [
        "map in pages" if splits is None else count(splits, "split"),
        *([count(stalls, "stall")] if stalls else []),
    ]
    return f"{shown}: {', '.join(words)}"


def _scales(axis: Axes, mine: pd.DataFrame) -> None:
    """Logarithmic where the points lie far apart; none at the edge."""
    for which, values in (("x", mine["pages_held"]), ("y", mine["conversion_ns"] / 1e6)):
        least, most = float(values[values > 0].min() if (values > 0).any() else 1), float(max(values.max(), 1e-6))
        if most > 10 * least:
            symlog(axis, which, values, 1.6)
            getattr(axis, f"{which}axis").get_major_locator().set_params(numticks=3)
            continue
        middle, half = (most + float(values.min())) / 2, (most - float(values.min())) / 2
        half = 1.2 * max(half, 0.1 * most)  # what differs by less than a tenth lies close
        getattr(axis, f"set_{which}lim")(middle - half, middle + half)
        thousands(getattr(axis, f"{which}axis"))


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
    points, sensitivity = case.answers["sweep_points"], case.answers["sweep_sensitivity"]
    drawn = []
    fronts = frame(points)
    fronts = fronts[fronts.groupby(["sweep", "replayed_on"])["on_front"].transform("any")]
    panels = fronts.groupby(["sweep", "replayed_on"], sort=False).ngroup()
    if not fronts.empty:
        left_out = panels.max() + 1 - _PANELS
        caption = (
            "Grey: points that protect. In colour: those that no other beats in memory held, splits, stalls and "
            "conversion time together, with their splits and stalls (a map in pages cannot be split: its tables count "
            "instead). Crosses failed to protect."
        ) + (f" The data have {left_out} more panels, by sweep and machine." if left_out > 0 else "")
        images = written(draw_fronts(fronts[panels < _PANELS]))
        drawn.append(Drawn(caption, "sweep-fronts", points, "sweep-points", images))
    rows = frame(sensitivity)
    if not rows.empty:
        caption = (
            "How much of a metric's variance each setting explains by itself: the mean over the strategies that have "
            "it; a dot: none. What settings do only in combination is in no row, and the seed's share is chance."
        )
        images = written(draw_shares(rows[rows.groupby(["sweep", "setting"], sort=False).ngroup() < _ROWS]))
        drawn.append(Drawn(caption, "sweep-sensitivity", sensitivity, "sweep-sensitivity", images))
    return drawn


SECTION = Section("sweeps", values=lambda case: {"sentences": sentences(case)}, figures=_figures)
