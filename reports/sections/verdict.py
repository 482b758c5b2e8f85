"""The verdict: every strategy by every cost, who is beaten, and how far the answer can be trusted."""

from typing import Any

from ptpool.vocabulary import BUILT_IN
from reports.case import Case
from reports.formats import count, duration, listed, number, percent, size, span
from reports.section import Section
from reports.sections.answer import COSTS, TELL_APART, best, keyed, texts, unbeaten


def contrast(case: Case) -> str:
    """The one sentence on how far the pool strategies lie apart."""
    if case.all_4k:
        return "The direct map is all 4K from the start, so no strategy has a large page to split."
    refills = {name: case.metrics[name]["refills"] for name in case.pools}
    splits = {name: total for name in refills if (total := case.run_time_splits(name)) is not None}
    if not splits:
        return "No strategy with a pool was replayed."
    if len(splits) > _FEW:
        text = f"The pools took {span(refills)} refills and {span(splits)} splits of the direct map at run time."
    else:
        said = [f"{n} {count(refills[n], 'refill')} and {count(splits[n], 'split')} of the direct map" for n in splits]
        text = f"The pools took, at run time: {'; '.join(said)}."
    baseline = case.run_time_splits("unprotected") if "unprotected" in case.metrics else None
    if baseline is None:
        return text
    text += f" Without any keys (unprotected) there {'is' if baseline == 1 else 'are'} {count(baseline, 'split')}"
    return text + _against_recorded(case, {name: abs(splits[name] - baseline) for name in splits})


def _against_recorded(case: Case, away: dict[str, float]) -> str:
    """What the recorded machine counted, and which pools are no further from `unprotected` than the model from it."""
    rows = [row for row in case.agreement if row["quantity"].endswith("splits since boot")]
    counted = {row["quantity"][:2]: row["recorded_after"] - row["recorded_before"] for row in rows}
    if not counted:
        return "."
    of = [f"{number(splits)} of {leaf}" for leaf, splits in counted.items() if splits]
    total = sum(counted.values())
    text = (
        f"; the recorded machine counted {number(total)} ({listed(of)})."
        if total
        else ("; the recorded machine counted none.")
    )
    if any(row["replayed_after"] is None for row in rows):
        return text
    error = sum(abs(row["replayed_after"] - row["recorded_after"]) for row in rows)
    within = [name for name, splits in away.items() if splits <= error]
    if not error or not within:
        return text
    who = "every pool strategy" if len(within) == len(away) else listed(within)
    return (
        f"{text} The model is {count(error, 'split')} away from the recorded machine, "
        f"and the difference between {who} and unprotected is within that error."
    )


_FEW = 3


def wins(case: Case) -> list[str]:
    """Which strategies no other beats, and what each of the costs is at its least."""
    rows, sound = keyed(case)
    if len(sound) < 2:
        return ["Fewer than two strategies that key page tables supplied everything: there is nothing to compare."]
    said = [
        f"Of {count(len(rows), 'strategy', 'strategies')} with a key {number(len(sound))} supplied everything. No "
        f"other is as good in every column and better in one than: {unbeaten(case)}."
    ]
    parts = []
    for words, of, shown in COSTS:
        known = {row["strategy"]: value for row in sound if (value := of(row)) is not None}
        if len({f"{value:.2g}" for value in known.values()}) > 1:
            least, most = min(known.values()), max(known.values())
            holders = [name for name, value in known.items() if f"{value:.2g}" == f"{least:.2g}"]
            few = listed(holders) if len(holders) <= 3 else f"{len(holders)} of them"
            parts.append(f"{words} {shown(least)} ({few}) to {shown(most)}")
    if parts:
        said.append(f"From the least to the most: {'; '.join(parts)}.")
    return [*said, *_against_pte_mapped(sound, best(sound))]


def _against_pte_mapped(sound: list[dict[str, Any]], best: list[dict[str, Any]]) -> list[str]:
    """What the cheapest pool that none beats saves and costs against a direct map all in small pages."""
    mapped = next((row for row in sound if row["strategy"] == "pte-mapped"), None)
    pool = next((row for row in best if row["strategy"] != "pte-mapped"), None)
    if mapped is None or pool is None or None in (mapped["conversion_ns"], pool["conversion_ns"]):
        return []
    more = pool["held_bytes"] - mapped["held_bytes"]
    held = f"holds {size(abs(more))} {'more' if more > 0 else 'less'}" if round(more) else "holds as much"
    return [
        f"Against `pte-mapped`, {pool['strategy']} {held} (the tables of a map at 4K counted) and spends "
        f"{duration(pool['conversion_ns'])} in permission changes instead of {duration(mapped['conversion_ns'])}, with "
        f"{percent(pool['pte_share_mean'])} of the map at 4K instead of {percent(mapped['pte_share_mean'])}."
    ]


def would_change(case: Case) -> list[str]:
    """Which error of which assumption would change the answer."""
    return [*_prices(case), *_break_even(case), _risk(case), *_cpus(case)]


def _prices(case: Case) -> list[str]:
    steps = [row for row in case.answers["conversion_order"].records() if row["next_dearer"]]
    if not steps:
        return []
    loose = [row for row in steps if not row["holds_in_all_ranges"]]
    if not loose:
        return [
            "Not the price of a permission change: who converts for less is the same over all ranges of the constants."
        ]
    said = [f"{row['strategies']} before {row['next_dearer']}" for row in loose]
    return [f"The price of a permission change: within the ranges of the constants these turn: {'; '.join(said)}."]


def _break_even(case: Case) -> list[str]:
    rows = [row for row in case.answers["break_even"].records() if row["costs"] == BUILT_IN]
    near = [row for row in rows if row["break_even_share_least"] is not None and row["break_even_share_least"] < 1]
    if not rows:
        return []
    if not near:
        return ["Not the share at 4K: at the prices and published costs there are, `pte-mapped` is better at no share."]
    said = [
        f"{row['strategy']} from {percent(max(row['break_even_share_least'], 0.0))} of the map at 4K on" for row in near
    ]
    return [f"The share at 4K: `pte-mapped` may be better than {'; '.join(said)} (at the worst prices)."]


def _risk(case: Case) -> str:
    rows, _ = keyed(case)
    measured = [row for row in rows if not row["oom_risk"].startswith("not measured")]
    if not measured:
        return "Memory pressure: **not measured**. `ptpool replay risk` does that; until then nothing is said about it."
    failing = [f"{row['strategy']} {row['oom_risk']}" for row in measured if row["oom_risk"] != "never failed"]
    if not failing:
        return "Not memory pressure, as far as it was raised: none failed where `unprotected` did not."
    return f"Memory pressure: {'; '.join(failing)} (the most over the variants of reclaim; see the section on risk)."


def _cpus(case: Case) -> list[str]:
    rows = [row for row in case.answers["contention_limits"].records() if row["refills_of"] == "2M blocks"]
    if not rows:
        return ["More CPUs: **not simulated**. `ptpool replay contention` does that."]
    shared = [row["cpus_at_1_us"] for row in rows if "percpu" not in row["variant"]]
    least = min((cpus for cpus in shared if cpus), default=None)
    if least is None:
        return ["Not more CPUs: a shared list serves all that were simulated."]
    return [
        f"More CPUs: from about {number(round(least))} that do nothing but fill page tables, a shared list costs over "
        "5 % in waiting, and lists per CPU begin to pay; the recorded machine has "
        f"{number(case.capture['cpus'])} (an assumed time under the lock: see below)."
    ]


def cannot_tell(case: Case) -> list[str]:
    """What this recording is no evidence for."""
    said = []
    refills = [case.metrics[name]["refills"] for name in case.pools]
    if refills and max(refills) - min(refills) < TELL_APART:
        said.append(
            f"Pools from one another by how they refill: they took {number(min(refills))} to "
            f"{count(max(refills), 'refill')}; more memory pressure, or more copies of the load, would."
        )
    if case.capture["timing"] != "real":
        said.append("Rates, waits and everything per second: its clock is not that of a real machine.")
    if case.all_4k:
        said.append("What splits cost: its direct map was all 4K before.")
    if all(not metrics["stalls"] for metrics in case.metrics.values()):
        said.append("What happens when memory is short: no allocation stalled in any run.")
    if case.value(next(iter(case.metrics)), "ptp_live_start") is None:
        said.append("What page tables were there before it began: it has no snapshot that says so.")
    basis = {row["mapping_cost_basis"] for row in case.answers["mapping_cost"].records()} - {None}
    if basis and case.capture["arch"] not in {words.split(",")[0] for words in basis}:
        said.append(f"What small pages cost on its architecture: the published scale is of {listed(sorted(basis))}.")
    if case.capture["lost_events"]:
        said.append(f"What {count(case.capture['lost_events'], 'lost event')} would have told.")
    return said


def details(case: Case) -> list[str]:
    """What the pools did to the map, and what limits or explains the answer."""
    return [contrast(case), *(" ".join(rest) for _, *rest in texts(case) if rest)]


SECTION = Section(
    "verdict",
    values=lambda case: {
        "wins": wins(case),
        "details": details(case),
        "would_change": would_change(case),
        "cannot_tell": cannot_tell(case),
    },
)
