"""The figures of a capture: which there are, their captions, and the bytes of each."""

from dataclasses import dataclass, field

import duckdb

from reports import captions, cost
from reports.case import Case
from reports.figures import mapping_cost, mosaic, pool, splits
from reports.figures.style import house_style, written
from reports.questions import Answer, ask
from reports.tables import frame


@dataclass(frozen=True)
class Drawn:
    """A figure, or the sentence that stands where there is nothing to draw.

    Attributes:
        name: stem of the files; empty when nothing was drawn.
        caption: what it shows.
        answer: the numbers behind it.
        data: stem of the CSV file that holds those numbers.
        images: bytes by file suffix.
    """

    caption: str
    name: str = ""
    answer: Answer | None = None
    data: str = ""
    images: dict[str, bytes] = field(default_factory=dict)


def figures(connection: duckdb.DuckDBPyConnection, case: Case) -> dict[str, list[Drawn]]:
    """Draw everything there is to draw for a capture, by section of the report."""
    with house_style():
        return {
            "splits": [_splits(case)],
            "mosaic": _mosaics(connection, case),
            "pool": [_pool(case)],
            "cost": [_cost(case)],
        }


def _splits(case: Case) -> Drawn:
    answer, caption = case.answers["splits_over_time"], captions.splits(case)
    if not answer.rows or case.all_4k or not case.capture["seconds"]:
        return Drawn(caption)
    images = written(splits.draw(frame(answer), case.capture["seconds"], captions.time_unit(case)))
    return Drawn(caption, "splits-over-time", answer, "splits-over-time", images)


def _pool(case: Case) -> Drawn:
    answer = case.answers["pool_over_time"]
    if not answer.rows:
        return Drawn("No strategy with a pool has a time line: there is nothing to draw.")
    if not case.capture["seconds"]:
        return Drawn(f"{captions.pool(case)} All events are of one moment: there is nothing to draw over time.")
    samples = frame(answer).astype(_FLOATS)
    images = written(pool.draw(samples, case.capture["seconds"], case.reserve, captions.time_unit(case)))
    return Drawn(captions.pool(case), "pool-over-time", answer, "pool-over-time", images)


_FLOATS = dict.fromkeys(("ptp_live", "pool_held", "pool_idle", "reserve_low"), "float64")


def _cost(case: Case) -> Drawn:
    answer = case.answers["mapping_cost"]
    basis = next((row["mapping_cost_basis"] for row in answer.records()), None)
    scale = next(
        (row for row in case.answers["mapping_scale"].records() if f"{row['arch']}, {row['metric']}" == basis), None
    )
    if scale is None:
        return Drawn(cost.mapping_short(case))
    limits = (scale["low_pct"], scale["median_pct"], scale["high_pct"])
    images = written(mapping_cost.draw(frame(answer), limits, scale["arch"], cost.UNMEASURED))
    return Drawn(cost.mapping_short(case), "mapping-cost", answer, "mapping-cost", images)


def _mosaics(connection: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
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
        caption = captions.mosaic(case, name)
        start, end = (mosaic.grid(runs, name, moment, place) for moment in ("start", "end"))
        if (start == end).all() and not mosaic.any_keyed(end):
            drawn.append(Drawn(f"{caption} Nothing changed: no picture."))
            continue
        images = written(mosaic.draw(runs, name, place, case.capture["page_size"]))
        drawn.append(Drawn(caption, f"direct-map-{name}", answer, "direct-map", images))
    return drawn
