"""OOM risk under pressure: at which headroom strategies begin to fail."""

from typing import Any

import duckdb

from reports.case import Case
from reports.figures import risk
from reports.formats import listed
from reports.section import Drawn, Section
from reports.style import written
from reports.tables import frame

Rows = list[dict[str, Any]]


def _panels(case: Case) -> dict[tuple[str, str], Rows]:
    panels: dict[tuple[str, str], Rows] = {}
    for row in case.answers["risk"].records():
        panels.setdefault((row["fragmentation"], row["reclaim"]), []).append(row)
    return panels


def sentences(case: Case) -> list[str]:
    """What the draws say, where they do: what the order of refills costs, and who fails sooner in every variant."""
    panels = _panels(case)
    said = orders(case)
    for fragmentation in dict.fromkeys(kind for kind, _ in panels):
        mine = [rows for (kind, _), rows in panels.items() if kind == fragmentation]
        said.append(f"Memory {fragmentation}: {_holds(mine)}")
    draws = min((row["draws"] for rows in panels.values() for row in rows), default=0)
    checked = sum(row["checked"] for rows in panels.values() for row in rows)
    wrong = sum(row["contradicted"] for rows in panels.values() for row in rows)
    if panels:
        machines = f"{draws} machine{'s' * (draws != 1)} drawn for each variant of reclaim{_few(draws)}"
        said.append(
            f"{machines}. The search takes it that more headroom never hurts; it did in {wrong} of {checked} further "
            "runs (contradicted)."
        )
    return said


def brief(case: Case) -> str:
    """In a sentence: from which headroom on each strategy fails no more, in the worst variant; empty: not measured.

    "Or more" where most of the further runs contradict that.
    """
    panels = _panels(case)
    if not panels:
        return ""
    fragmentation = "severe" if any(kind == "severe" for kind, _ in panels) else next(iter(panels))[0]
    mine = [row for (kind, _), rows in panels.items() if kind == fragmentation for row in rows]
    worst: dict[str, tuple[bool, float]] = {}
    for row in mine:
        found = (row["never_enough"] * 2 > row["draws"], row["headroom_median"])
        if not row["strategy"].startswith("refills of order"):
            worst[row["strategy"]] = max(worst.get(row["strategy"], found), found)
    ends = sorted((headroom, name) for name, (never, headroom) in worst.items() if not never)
    doubtful = {row["strategy"] for row in mine if row["contradicted"] * 2 > row["checked"]}
    parts = [f"{name} {headroom:.2g}{' or more' if name in doubtful else ''}" for headroom, name in ends]
    never_enough = sorted(name for name, (never, _) in worst.items() if never)
    beyond = f"; {listed(never_enough)} at the largest that was tried, too" if never_enough else ""
    draws, kinds = min(row["draws"] for row in mine), sum(kind == fragmentation for kind, _ in panels)
    machines = f"{draws} machine{'s' * (draws != 1)} drawn for each of {kinds} variant{'s' * (kinds != 1)} of reclaim"
    return (
        f"Where little memory is left (fragmentation {fragmentation}; {machines}), these fail below so many times the "
        f"peak demand: {listed(parts)}{beyond}."
    )


def _few(draws: int) -> str:
    more = max(12, 2 * draws)
    return f", which is few: `--seeds {more}` of `ptpool replay risk` draws more" if draws < 12 else ""


def orders(case: Case) -> list[str]:
    """How much sooner a pool fails that needs four pages in a row, or 512, than one that needs single pages."""
    panels: dict[tuple[str, str], list[str]] = {}
    for row in case.answers["risk_orders"].records():
        over = "more than " if row["never_enough"] * 2 > row["draws"] else ""
        least, most = f"{row['times_least']:.2g}", f"{row['times_most']:.2g}"
        spread = "" if least == most else f" ({least} to {most})"
        part = f"order {row['refill_order']} {over}{row['times_median']:.2g}{spread}"
        panels.setdefault((row["fragmentation"], row["reclaim"]), []).append(part)
    return [
        f"Memory {fragmentation}, reclaim {reclaim}: headroom that the same pool needs with larger refills, times "
        f"what it needs with refills of order 0: {listed(parts)}."
        for (fragmentation, reclaim), parts in panels.items()
    ]


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


def _figures(_: duckdb.DuckDBPyConnection, case: Case) -> list[Drawn]:
    answer = case.answers["risk_curve"]
    rows = frame(answer)
    drawn = []
    for fragmentation in dict.fromkeys(row["fragmentation"] for row in answer.records()):
        mine = rows[rows["fragmentation"] == fragmentation]
        shares = [f"{mine[f'unusable_index_{order}'].mean():.0%} for order {order}" for order in (2, 4, 9)]
        said = (
            f"Memory {fragmentation}: share of the machines on which a strategy fails and `unprotected` does not, by "
            "headroom; each strip from 0 at its foot to 1 at its head, with the 95 % interval (Wilson); grey: "
            f"`unprotected` fails. Free memory at the start in blocks too small: {listed(shares)} (unusable index)."
        )
        name = f"risk-{fragmentation.replace(' ', '-')}"
        drawn.append(Drawn(said, name, answer, "risk-curve", written(risk.draw(mine))))
    return drawn


SECTION = Section("risk", values=lambda case: {"sentences": sentences(case)}, figures=_figures)
