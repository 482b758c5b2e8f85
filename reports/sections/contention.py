"""How many CPUs can share a pool: lock waiting by number of CPUs and price of a key change."""

import duckdb

from reports import contention
from reports.case import Case
from reports.figures import contention as contour
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer, caption = case.answers["contention"], contention.caption(case)
    if not answer.rows:
        return [Drawn(caption)]
    costs = contention.constants(case, answer.records()[0]["costs"])

    def change_ns(cpus: float) -> float:
        typical = {name: costs[name]["typical"] for name in ("change_ns", "flush_base_ns", "flush_per_cpu_ns")}
        return typical["change_ns"] + typical["flush_base_ns"] + typical["flush_per_cpu_ns"] * (cpus - 1)

    images = written(contour.draw(frame(answer), change_ns, case.capture["page_size"]))
    return [Drawn(caption, "contention", answer, "contention", images)]


SECTION = Section(
    "contention",
    values=lambda case: {
        "simulated": bool(case.answers["contention"].rows),
        "setting": contention.setting(case),
        "findings": contention.findings(case),
    },
    figures=_figures,
)
