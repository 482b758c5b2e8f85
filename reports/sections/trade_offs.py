"""Trade-offs between what the strategies cost: two costs at a time."""

import duckdb
import pandas as pd

from reports.case import Case
from reports.figures import trade_offs
from reports.formats import listed
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame

_WORDS = {"share": "share of the map at 4K", "idle": "idle pages", "per_table": "time in permission changes"}


def _points(case: Case) -> pd.DataFrame:
    rows = frame(case.answers["trade_offs"]).set_index("strategy").astype("float64").reset_index()
    points = pd.DataFrame({
        "strategy": rows["strategy"],
        "share": 100 * rows["pte_share_mean"],
        "idle": rows["pool_idle_pages_mean"].fillna(0),  # no pool: nothing lies idle
        "per_table": rows["conversion_ns"] / rows["ptp_allocs"],
        "failures": rows["failures"],
    })  # fmt: skip
    for cost, _ in trade_offs.COSTS:  # three digits: what differs by less is not told apart
        points[cost] = [float(f"{value:.3g}") for value in points[cost]]
    return points


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    points = _points(case)
    points = points[points["strategy"] != "unprotected"]
    sound = points[points["failures"] == 0]
    if len(sound) < 2 or sound[["share", "per_table"]].isna().all().any():
        return [Drawn("Fewer than two strategies that supplied everything were measured: there is nothing to weigh.")]
    said = []
    for x, y in trade_offs.PAIRS:
        best = trade_offs.front(sound.dropna(subset=[x, y]), x, y)
        said.append(f"by {_WORDS[x]} and {_WORDS[y]}, none beats {listed(best, 'or')} on both")
    failed = [str(name) for name in points.loc[points["failures"] > 0, "strategy"]]
    hollow = f" Hollow, because it could not supply everything: {listed(failed)}." if failed else ""
    text = f"{'; '.join(said)}.{hollow}"
    caption = text[0].upper() + text[1:]
    return [Drawn(caption, "trade-offs", case.answers["trade_offs"], "trade-offs", written(trade_offs.draw(points)))]


SECTION = Section("trade_offs", figures=_figures)
