"""The verdict: every strategy by every cost, which is beaten, and how far the answer can be trusted."""

from ptpool.vocabulary import BUILT_IN
from reports.case import Case
from reports.formats import count, listed, number, percent, span
from reports.section import Section
from reports.sections.answer import TELL_APART, keyed, recommendation, shortfall, unbeaten

_FEW = 3
_SINCE_BOOT = {"2M splits since boot": "2M", "1G splits since boot": "1G"}


def wins(case: Case) -> str:
    """Which strategies no other beats."""
    rows, sound = keyed(case)
    if len(sound) < 2:
        return "Fewer than two strategies that key page tables supplied everything: there is nothing to compare."
    return (
        f"Of {count(len(rows), 'strategy', 'strategies')} that key page tables, {number(len(sound))} supplied "
        f"everything. Unbeaten, all costs considered: {unbeaten(case)}."
    )


def contrast(case: Case) -> str:
    """How far the pools lie apart, and whether that is more than the error of the model."""
    if case.all_4k:
        return "The direct map is all 4K from the start, so no strategy has a large page to split."
    refills = {name: case.metrics[name]["refills"] for name in case.pools}
    splits = {name: total for name in refills if (total := case.run_time_splits(name)) is not None}
    if not splits:
        return "No strategy with a pool was replayed."
    if len(splits) > _FEW:
        text = f"The pools took {span(refills)} refills and {span(splits)} splits of the direct map at run time"
    else:
        said = [f"{n} {count(refills[n], 'refill')} and {count(splits[n], 'split')} of the direct map" for n in splits]
        text = f"The pools took, at run time: {'; '.join(said)}"
    baseline = case.run_time_splits("unprotected") if "unprotected" in case.metrics else None
    if baseline is None:
        return f"{text}."
    away = {name: abs(splits[name] - baseline) for name in splits}
    return f"{text}. Unprotected, without any keys, took {count(baseline, 'split')}{_recorded(case, away)}"


def _recorded(case: Case, away: dict[str, float]) -> str:
    """What the recorded machine counted, and which pools are no further from `unprotected` than the model is off."""
    rows = [row for row in case.agreement if row["quantity"] in _SINCE_BOOT]
    counted = {_SINCE_BOOT[row["quantity"]]: row["recorded_after"] - row["recorded_before"] for row in rows}
    if not counted:
        return "."
    of = [f"{number(splits)} of {leaf}" for leaf, splits in counted.items() if splits]
    total = f"{number(sum(counted.values()))} ({listed(of)})" if of else "none"
    text = f"; the recorded machine counted {total}."
    if any(row["replayed_after"] is None for row in rows):
        return text
    error = sum(abs(row["replayed_after"] - row["recorded_after"]) for row in rows)
    within = [name for name, splits in away.items() if splits <= error]
    if not error or not within:
        return text
    pools = "every pool" if len(within) == len(away) else listed(within)
    return f"{text} The model is off by {count(error, 'split')}; no more than that separates unprotected from {pools}."


def details(case: Case) -> list[str]:
    """What the pools did to the map, and what limits or explains the answer."""
    return [contrast(case), *(" ".join(rest) for _, *rest in (recommendation(case), shortfall(case)) if rest)]


def would_change(case: Case) -> list[str]:
    """Which wrong assumption would change the answer."""
    return [*_prices(case), *_break_even(case), _risk(case), _cpus(case)]


def _prices(case: Case) -> list[str]:
    steps = [row for row in case.answers["conversion_order"].records() if row["next_dearer"]]
    loose = [f"{row['strategies']} before {row['next_dearer']}" for row in steps if not row["holds_in_all_ranges"]]
    if loose:
        return [
            f"The price of a permission change: this order may turn within the constants' ranges: {'; '.join(loose)}."
        ]
    return (
        ["Not the price of a permission change: the order is the same over all ranges of the constants."]
        if steps
        else []
    )


def _break_even(case: Case) -> list[str]:
    rows = [row for row in case.answers["break_even"].records() if row["costs"] == BUILT_IN]
    near = [
        f"{row['strategy']} (from {percent(max(row['break_even_share_least'], 0.0))} of the map at 4K on)"
        for row in rows
        if row["break_even_share_least"] is not None and row["break_even_share_least"] < 1
    ]
    if near:
        return [f"The share at 4K: at the worst prices, `pte-mapped` may beat {listed(near)}."]
    return (
        ["Not the share at 4K: at known prices and published costs, no share makes `pte-mapped` better."]
        if rows
        else []
    )


def _risk(case: Case) -> str:
    rows, _ = keyed(case)
    measured = {row["strategy"]: row["fails_at_headroom"] for row in rows if row["fails_at_headroom"] is not None}
    if not measured:
        return "Memory pressure: **not measured**; run `ptpool replay risk`."
    failing = [f"{headroom:.3g} ({name})" for name, headroom in measured.items() if headroom]
    if not failing:
        return "Not memory pressure, as far as it was raised: none failed where `unprotected` did not."
    return (
        f"Memory pressure: some fail up to a headroom of {listed(failing)}, in the worst reclaim variant (see the "
        "section on risk)."
    )


def _cpus(case: Case) -> str:
    rows = [row for row in case.answers["contention_limits"].records() if row["refills_of"] == "2M blocks"]
    if not rows:
        return "More CPUs: **not simulated**; run `ptpool replay contention`."
    shared = [row["cpus_at_1_us"] for row in rows if "percpu" not in row["variant"]]
    least = min((cpus for cpus in shared if cpus), default=None)
    if least is None:
        return "Not more CPUs: a shared list serves all that were simulated."
    return (
        f"More CPUs: from about {number(round(least))} that do nothing but fill page tables, waiting for a shared list "
        "costs over 5 %, and per-CPU lists begin to pay; the recorded machine has "
        f"{number(case.capture['cpus'])} (the time under the lock is an assumption: see below)."
    )


def cannot_tell(case: Case) -> list[str]:
    """Questions that this recording cannot answer."""
    said = []
    refills = [case.metrics[name]["refills"] for name in case.pools]
    if refills and max(refills) - min(refills) < TELL_APART:
        said.append(
            f"Which pool refills least: they took {number(min(refills))} to {count(max(refills), 'refill')}; more "
            "memory pressure or more copies of the load would separate them."
        )
    if case.capture["timing"] == "emulated":
        said.append("Rates, waits and everything per second: its clock is not that of a real machine.")
    elif case.capture["timing"] != "real":
        said.append("Rates, waits and everything per second: whether its clock is that of a real machine is unknown.")
    if case.all_4k:
        said.append("What splits cost: its direct map was all 4K already.")
    if all(not metrics["stalls"] for metrics in case.metrics.values()):
        said.append("What happens when memory is short: no allocation stalled in any run.")
    if case.value(next(iter(case.metrics)), "ptp_live_start") is None:
        said.append("Which page tables were there before it began: it has no snapshot of them.")
    other = [row["arch"] for row in case.answers["mapping_basis"].records() if row["arch"] != case.capture["arch"]]
    if other:
        said.append(f"What small pages cost on its architecture: the published scale is for {listed(other)}.")
    if case.capture["lost_events"]:
        said.append(f"What {count(case.capture['lost_events'], 'lost event')} would have shown.")
    return said


SECTION = Section(
    "verdict",
    values=lambda case: {
        "wins": wins(case),
        "details": details(case),
        "would_change": would_change(case),
        "cannot_tell": cannot_tell(case),
    },
)
