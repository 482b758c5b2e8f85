"""The index over captures: the answer of each, and a heat map of strategies by captures."""

import duckdb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.case import load_case
from reports.formats import count
from reports.page import machine, recorded
from reports.questions import Answer, ask
from reports.render import file_stem, render
from reports.section import Drawn
from reports.sections.answer import answer
from reports.style import INK, WIDTH, house_style, written
from reports.tables import frame, table

COSTS = (
    ("splits", "splits at run time", 1.0),
    ("pte_share_mean", "direct map at 4K, %", 100.0),
    ("pool_idle_pages_mean", "idle pages", 1.0),
    ("permission_changes", "permission changes", 1.0),
    ("failures", "not supplied", 1.0),
)


def draw(rows: pd.DataFrame) -> Figure:
    """One panel per cost, with strategies down and captures across; a cost that does not apply is left blank.

    Args:
        rows: capture, strategy and a column per cost.
    """
    captures, names = (list(dict.fromkeys(rows[column])) for column in ("capture", "strategy"))
    per_row = max(1, min(len(COSTS), 25 // max(3, len(captures))))
    lines = -(-len(COSTS) // per_row)
    height = 0.235 * len(names) + 0.35
    figure = Figure(figsize=(WIDTH, lines * (height + 0.9)), layout="constrained")
    axes = figure.subplots(lines, per_row, squeeze=False, sharey=True)
    for spare in list(axes.flat)[len(COSTS) :]:
        spare.remove()
    for axis, (column, words, scale) in zip(axes.flat, COSTS, strict=False):
        values = rows.pivot_table(index="strategy", columns="capture", values=column, aggfunc="first", dropna=False)
        grid = scale * values.reindex(index=names, columns=captures).to_numpy(dtype=float)
        axis.imshow(shades(grid), cmap="Greys", vmin=0, vmax=1.9, aspect="auto")
        for y, x in np.ndindex(*grid.shape):
            axis.text(x, y, _short(float(grid[y, x])), ha="center", va="center", fontsize=6.5, color=INK)
        axis.set_title(words, fontsize=8.5)
        axis.set_xticks(range(len(captures)), captures, rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
        axis.set_yticks(range(len(names)), names)
        axis.tick_params(length=0)
        axis.grid(visible=False)
    return figure


def shades(grid: np.ndarray) -> np.ndarray:
    """Logarithmic shades, from 0 for the least to 1 for the most of each column; equal values are all 0."""
    logs = np.log1p(np.maximum(grid, 0))
    least = np.nanmin(np.where(np.isnan(logs), np.inf, logs), axis=0)
    most = np.nanmax(np.where(np.isnan(logs), -np.inf, logs), axis=0)
    span = np.where(most > least, most - least, 1.0)
    return np.asarray((logs - least) / span)


def _short(value: float) -> str:
    if np.isnan(value):
        return ""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}" if value >= 10 * scale else f"{value / scale:.1f}{unit}"
    return f"{value:,.0f}" if float(value).is_integer() or value >= 100 else f"{value:.2g}"


def index_page(connection: duckdb.DuckDBPyConnection, built: set[str]) -> dict[str, bytes]:
    """Write the index.

    Args:
        connection: an open warehouse with at least one run at default parameters.
        built: captures whose page exists.

    Returns:
        Contents by file name.
    """
    headline = ask(connection, "index")
    cases = [load_case(connection, name) for name in dict.fromkeys(row["capture"] for row in headline.records())]
    entries = [
        {
            "name": case.capture["name"],
            "machine": machine(case),
            "recorded": recorded(case),
            "answer": answer(case),
            "built": case.capture["name"] in built,
        }
        for case in cases
    ]
    picture = _overview(ask(connection, "overview"))
    text = render(
        "index.md.j2",
        entries=entries,
        figure=picture,
        table=lambda _: table(headline, *cases),
        strategies=count(len({row["strategy"] for row in headline.records()}), "strategy", "strategies"),
    )
    files = {"README.md": text.encode(), f"{file_stem('index')}.csv": headline.csv().encode()}
    files |= {f"overview.{suffix}": image for suffix, image in picture.images.items()}
    return files | ({"overview.csv": picture.answer.csv().encode()} if picture.answer else {})


def _overview(answer: Answer) -> Drawn:
    rows = frame(answer)
    if rows.empty:
        return Drawn("Only the bound was replayed, so there is no overview.")
    with house_style({}):
        images = written(draw(rows.astype(dict.fromkeys([column for column, *_ in COSTS], "float64"))))
    same = [
        words for column, words, _ in COSTS if all(part[column].nunique() <= 1 for _, part in rows.groupby("capture"))
    ]
    caption = "Every strategy on every capture: darker is more within a capture; an empty cell does not apply."
    caption += f" On no capture do the strategies differ in {', '.join(same)}." if same else ""
    return Drawn(caption, "overview", answer, "overview", images)
