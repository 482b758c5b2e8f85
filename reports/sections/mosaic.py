"""The direct map as a picture."""

import duckdb

from reports.case import Case
from reports.figures import mosaic
from reports.figures.style import written
from reports.formats import count, listed, number, percent
from reports.questions import ask
from reports.section import Drawn, Section
from reports.tables import frame


def _figures(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    """A picture for each strategy whose map changed or carries keys; a sentence for each other."""
    coverage = case.answers["map_coverage"].records()
    if not coverage:
        return [Drawn("The replay recorded no direct map: there is nothing to draw.")]
    mapped = max(row["pages"] for row in coverage)
    cell = mosaic.cell_pages(mapped, case.block_pages)
    answer = ask(connection, "mosaic", capture=case.capture["name"], cell_pages=cell)
    runs = frame(answer)
    place = mosaic.layout(runs, cell)
    drawn = []
    for name in dict.fromkeys(row["strategy"] for row in coverage):
        said = caption(case, name)
        start, end = (mosaic.grid(runs, name, moment, place) for moment in ("start", "end"))
        if (start == end).all() and not mosaic.any_keyed(end):
            drawn.append(Drawn(f"{said} Nothing changed: no picture."))
            continue
        images = written(mosaic.draw(runs, name, place, case.capture["page_size"]))
        drawn.append(Drawn(said, f"direct-map-{name}", answer, "direct-map", images))
    return drawn


def caption(case: Case, strategy: str) -> str:
    """The finding of one strategy's picture of the direct map."""
    rows = {row["moment"]: row for row in case.answers["map_coverage"].records() if row["strategy"] == strategy}
    if "start" not in rows or "end" not in rows:
        return f"**{strategy}**: no direct map was recorded by the replay."
    start, end = rows["start"], rows["end"]
    names = case.leaf_names
    changed = [
        f"{names[leaf]} {percent(start[column] / start['pages'])} to {percent(end[column] / end['pages'])}"
        for leaf, column in (("1G", "pages_1g"), ("2M", "pages_2m"), ("4K", "pages_4k"))
        if start[column] != end[column]
    ]
    text = f"**{strategy}**: "
    text += f"of the direct map's bytes, {listed(changed)}" if changed else "every leaf kept its size"
    if end["pages_keyed"]:
        large = end["pages_keyed"] - end["pages_keyed_4k"]
        of_them = "all" if large == end["pages_keyed"] else number(large) if large else "none"
        text += f"; {count(end['pages_keyed'], 'page')} keyed at the end, {of_them} of them in leaves larger than "
        text += names["4K"]
    elif not start["pages_keyed"]:
        text += "; nothing is keyed"
    return text + "."


SECTION = Section("mosaic", figures=_figures)
