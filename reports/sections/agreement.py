"""How far the model agrees with the recorded machine, with the free blocks by order as a picture."""

import duckdb

from reports.agreement import agreement
from reports.case import Case
from reports.figures import free_blocks
from reports.formats import count, number
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["free_blocks_by_order"]
    columns = [column for column in answer.columns if column not in ("zone", "page_order")]
    blocks = frame(answer).astype(dict.fromkeys(columns, "float64"))
    if blocks.empty or blocks[["recorded_before", "recorded_after", "predicted"]].isna().any(axis=None):
        return []
    zones = free_blocks.changed(blocks)
    if not zones:
        return [Drawn("Free blocks: nothing changed, and nothing was predicted to.")]
    blocks["order"] = blocks["page_order"].astype(int)
    part = blocks[blocks["zone"].isin(zones)]
    off = (part["predicted"] - part["recorded_after"]).abs()
    moved = (part["recorded_before"] - part["recorded_after"]).abs()
    worst = part.iloc[int(off.to_numpy().argmax())]
    caption = (
        f"Free blocks by order: together {count(off.sum(), 'block')} off where {count(moved.sum(), 'block')} changed; "
        f"furthest at order {worst['order']} of zone {worst['zone']} ({number(worst['predicted'])} predicted, "
        f"{number(worst['recorded_after'])} recorded)."
    )
    images = written(free_blocks.draw(blocks))
    return [Drawn(caption, "free-blocks", answer, "free-blocks-by-order", images)]


SECTION = Section(
    "agreement",
    values=lambda case: {"agreement": agreement(case), "baseline": "unprotected" in case.metrics},
    figures=_figures,
)
