"""OOM risk under pressure: at which headroom strategies begin to fail."""

from typing import Any

import duckdb

from reports.case import Case
from reports.figures import risk
from reports.figures.style import written
from reports.formats import listed
from reports.section import Drawn, Section
from reports.tables import frame

ORDERS = [f"refills of order {order}" for order in (0, 2, 9)]
"""The same pool three times, which differ in nothing but the order of their refills."""

Rows = list[dict[str, Any]]


def _panels(case: Case) -> dict[tuple[str, str], Rows]:
    panels: dict[tuple[str, str], Rows] = {}
    for row in case.answers["risk"].records():
        panels.setdefault((row["fragmentation"], row["reclaim"]), []).append(row)
    return panels


def sentences(case: Case) -> list[str]:
    """What the draws say, where they do: what the order of refills costs, and who fails sooner in every variant."""
    said = []
    panels = _panels(case)
    for (fragmentation, reclaim), rows in panels.items():
        by_name = {row["strategy"]: row for row in rows}
        if all(name in by_name for name in ORDERS):
            parts = [f"{name.removeprefix('refills of ')} {_headroom(by_name[name])}" for name in ORDERS]
            said.append(
                f"Memory {fragmentation}, reclaim {reclaim}: the same pool needs, with refills of {listed(parts)}; "
                f"`unprotected` {_headroom(by_name['unprotected'])}."
            )
    for fragmentation in dict.fromkeys(kind for kind, _ in panels):
        mine = [rows for (kind, _), rows in panels.items() if kind == fragmentation]
        said.append(f"Memory {fragmentation}: {_holds(mine)}")
    draws = min((row["draws"] for rows in panels.values() for row in rows), default=0)
    checked = sum(row["checked"] for rows in panels.values() for row in rows)
    wrong = sum(row["contradicted"] for rows in panels.values() for row in rows)
    if panels:
        said.append(
            f"{draws} draws each, their median and range. The search takes it that more headroom never hurts; it did "
            f"in {wrong} of {checked} further runs."
        )
    return said


def _holds(panels: list[Rows]) -> str:
    """Who fails sooner than unprotected in every draw, under every variant of reclaim."""
    if len(panels) < 3:
        return "not all variants of reclaim were run, so nothing is ranked."
    if min(row["draws"] for rows in panels for row in rows) < 6:
        return "fewer than 6 draws, so nothing is ranked."
    sooner = []
    for name in (row["strategy"] for row in panels[0]):
        pairs = [({row["strategy"]: row for row in rows}, name) for rows in panels]
        if all(n in by and by[n]["headroom_least"] > by["unprotected"]["headroom_most"] for by, n in pairs):
            sooner.append(name)
    if not sooner:
        return "no strategy differs from `unprotected` in all draws under all three variants of reclaim."
    return f"failing sooner than `unprotected` in all draws, under all three variants of reclaim: {listed(sooner)}."


def _headroom(row: dict[str, Any]) -> str:
    over = "more than " if row["never_enough"] * 2 > row["draws"] else ""
    return f"{over}{row['headroom_median']:.2g} ({row['headroom_least']:.2g} to {row['headroom_most']:.2g})"


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["risk"]
    if not answer.rows:
        return []
    rows = frame(answer)
    said = (
        "The least headroom at which each strategy does not fail: median and range over the draws; an arrow where it "
        "fails at the largest that was tried, too. The dashed line is `unprotected`'s median."
    )
    return [Drawn(said, "risk", answer, "risk", written(risk.draw(rows)))]


SECTION = Section("risk", values=lambda case: {"sentences": sentences(case)}, figures=_figures)
