"""The direct map as a picture."""

import duckdb
import numpy as np

from reports.case import Case
from reports.figures import mosaic, strip
from reports.findings import span
from reports.formats import count, listed, number, percent, size
from reports.questions import ask
from reports.section import Drawn, Section
from reports.style import alike, written
from reports.tables import frame


def _figures(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    """The strip over time, then a picture for each group of strategies whose map ends the same and changed."""
    coverage = case.answers["map_coverage"].records()
    if not coverage:
        return [Drawn("The replay recorded no direct map: there is nothing to draw.")]
    mapped = max(row["pages"] for row in coverage)
    return [*_strips(connection, case), *_mosaics(connection, case, mapped)]


def _strips(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    if case.all_4k or not case.capture["seconds"]:
        return []
    values = {"capture": case.capture["name"], "block_pages": case.block_pages}
    blocks = ask(connection, "split_blocks", **values)
    if not blocks.rows:
        return [Drawn("No leaf was split after the first event: there is no change over time to draw.")]
    cell = strip.cell_pages(np.array([block for (block,) in blocks.rows]), case.block_pages)
    answer = ask(connection, "mosaic_over_time", cell_pages=cell, **values)
    changed = {row["strategy"] for row in answer.records() if row["step"]}
    samples = frame(answer).astype({"pages": "float64", "pages_4k": "float64"})
    drawn = strip.strips(samples[samples["strategy"].isin(changed)])
    images = written(strip.draw(drawn, cell * case.capture["page_size"], case.capture["seconds"], case.time_unit))
    return [Drawn(_where(case, drawn, changed, cell), "direct-map-over-time", answer, "direct-map-over-time", images)]


def _where(case: Case, drawn: strip.Strips, changed: set[str], cell: int) -> str:
    """The finding of the strip: into how much of memory the splits fell, and who is not drawn."""
    touched = {
        name: int((np.nan_to_num(shares[:, -1]) > np.nan_to_num(shares[:, 0])).sum())
        for name, shares in drawn.shares.items()
    }
    text = (
        f"Splits fell into {span(touched)} ranges of {size(cell * case.capture['page_size'])}. "
        "A row is such a range in which any strategy splits, dark where it is mapped at 4K; a white line stands for "
        "those left out."
    )
    still = [name for name in case.metrics if name not in changed and case.family(name) != "bound"]
    return text + (
        f" Without a split of a {case.leaf_names['2M']} leaf, and not drawn: {listed(still)}." if still else ""
    )


def _mosaics(connection: duckdb.DuckDBPyConnection, case: Case, mapped: int) -> list[Drawn]:
    cell = mosaic.cell_pages(mapped, case.block_pages)
    answer = ask(connection, "mosaic", capture=case.capture["name"], cell_pages=cell)
    runs = frame(answer)
    place = mosaic.layout(runs, cell)
    grids = {
        name: np.stack([mosaic.grid(runs, name, moment, place) for moment in ("start", "end")])
        for name in dict.fromkeys(runs["strategy"])
    }
    drawn, unchanged = [], []
    for name, names in alike(grids).items():
        start, end = grids[name]
        if (start == end).all() and not mosaic.any_keyed(end):
            unchanged += names
            continue
        images = written(mosaic.draw(start, end, names, place, case.capture["page_size"]))
        drawn.append(Drawn(_said(case, names), f"direct-map-{name}", answer, "direct-map", images, ", ".join(names)))
    return [*drawn, *([Drawn(f"{_said(case, unchanged)} Nothing changed: no picture.")] if unchanged else [])]


def _said(case: Case, names: list[str]) -> str:
    """The findings of several strategies, each said once."""
    findings: dict[str, list[str]] = {}
    for name in names:
        findings.setdefault(caption(case, name), []).append(name)
    return " ".join(f"**{listed(of)}**: {finding}" for finding, of in findings.items())


def caption(case: Case, strategy: str) -> str:
    """The finding of one strategy's picture of the direct map."""
    rows = {row["moment"]: row for row in case.answers["map_coverage"].records() if row["strategy"] == strategy}
    if "start" not in rows or "end" not in rows:
        return "no direct map was recorded by the replay."
    start, end = rows["start"], rows["end"]
    names = case.leaf_names
    changed = [
        f"{names[leaf]} {percent(start[column] / start['pages'])} to {percent(end[column] / end['pages'])}"
        for leaf, column in (("1G", "pages_1g"), ("2M", "pages_2m"), ("4K", "pages_4k"))
        if start[column] != end[column]
    ]
    text = f"of the direct map's bytes, {listed(changed)}" if changed else "every leaf kept its size"
    if end["pages_keyed"]:
        large = end["pages_keyed"] - end["pages_keyed_4k"]
        of_them = "all" if large == end["pages_keyed"] else number(large) if large else "none"
        text += f"; {count(end['pages_keyed'], 'page')} keyed at the end, {of_them} of them in leaves larger than "
        text += names["4K"]
    elif not start["pages_keyed"]:
        text += "; nothing is keyed"
    return text + "."


SECTION = Section("mosaic", figures=_figures)
