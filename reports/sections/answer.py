"""The answer in three points: what the recording asks for, which strategy is best, and which ran out."""

from collections import defaultdict
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from reports.case import Case
from reports.formats import count, listed, number, percent, span
from reports.section import Section
from reports.sections import risk

TELL_APART = 10
"""Pool strategies whose refills differ by fewer than this are not ranked."""

_COSTS: tuple[Callable[[dict[str, Any]], float | None], ...] = (
    lambda row: None if row["splits_2m"] is None else row["splits_1g"] + row["splits_2m"],
    *(itemgetter(cost) for cost in ("held_bytes", "pte_share_mean", "conversion_ns", "ptp_alloc_p99_ns")),
)
"""Costs in a row of ``verdict.sql`` by which strategies are distinguished; the table has more."""

_POOL_COSTS: tuple[tuple[str, Callable[[Case, str], float | None], Callable[[float], str]], ...] = (
    ("splits at run time", Case.run_time_splits, number),
    ("share of the map at 4K", lambda case, name: case.value(name, "pte_share_mean"), percent),
    ("idle pages", lambda case, name: case.value(name, "pool_idle_pages_mean"), lambda pages: number(round(pages))),
)
"""Costs by which pools are ranked."""

_OTHER_COUNTS = (
    ("pages given back by a shrinker", "shrunk_pages"),
    ("permission changes", "permission_changes"),
    ("failed 2M allocations", "block_failures"),
)
"""What pools may differ in even if their refills are alike."""

_FAILURES = (
    ("ptp_nulls", "page table not supplied", "page tables not supplied"),
    ("split_starvations", "split without a keyed table", "splits without a keyed table"),
    ("deadlocks", "deadlock", "deadlocks"),
    ("oom_kills", "call of the OOM killer", "calls of the OOM killer"),
)


def answer(case: Case) -> list[str]:
    """Three points, for the page, the index and the mail."""
    best, recommended, risky = unbeaten(case), recommendation(case)[0], risk.brief(case)
    chosen = [f"Unbeaten, all costs considered: {best}."] if best else []
    return [demand(case), " ".join([*chosen, recommended]), " ".join([shortfall(case)[0], *([risky] if risky else [])])]


def demand(case: Case) -> str:
    """How many page tables the recording asks for."""
    metrics = next(iter(case.metrics.values()))
    allocs, start, peak = (metrics[name] for name in ("ptp_allocs", "ptp_live_start", "ptp_live_peak"))
    if allocs == 0:
        return "The recording allocates no page tables."
    parts = [f"The recording allocates {count(allocs, 'page table')}"] if allocs is not None else []
    if peak is not None:
        fewest = count(-(-peak // case.block_pages), "block")
        blocks = f" (at least {fewest} of {case.leaf_names['2M']})" if peak else ""
        parts.append(f"{'at' if parts else 'At'} most {count(peak, 'page')} of page tables are in use at once{blocks}")
    if start is None:
        parts.append("the recording does not show how many page tables were alive before its first event")
    else:
        parts.append(
            f"{number(start) if start else 'none'} {'was' if start == 1 else 'were'} alive before the first event"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def unbeaten(case: Case) -> str:
    """The strategies that no other beats, grouped where two digits do not separate them; empty: nothing to compare."""
    _, sound = keyed(case)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in sound if len(sound) > 1 else []:
        if row["standing"] == "beaten":
            continue
        alike[tuple("" if (value := of(row)) is None else f"{value:.2g}" for of in _COSTS)].append(row["strategy"])
    return "; ".join(listed(names) + (" (indistinguishable)" if len(names) > 1 else "") for names in alike.values())


def keyed(case: Case) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of ``verdict.sql`` for all strategies that key page tables, and for those that supplied everything."""
    rows = [row for row in case.answers["verdict"].records() if row["strategy"] != "unprotected"]
    return rows, [row for row in rows if row["standing"] in ("none beats it", "beaten")]


def recommendation(case: Case) -> list[str]:
    """Which pool is recommended, or why none is; then what limits or explains that."""
    if case.all_4k:
        return [
            "No recommendation: the direct map is all 4K, so there is nothing to split, and this recording cannot rank "
            "the strategies by what they do to the direct map."
        ]
    if all(metrics["ptp_allocs"] == 0 for metrics in case.metrics.values()):
        return ["No recommendation: no page table is allocated."]
    pools = case.pools
    if len(pools) < 2:
        replayed = count(len(pools), "strategy", "strategy")
        return [f"No recommendation: {replayed} with a pool was replayed, and a comparison needs two."]
    refills = {name: case.metrics[name]["refills"] for name in pools}
    least, most = min(refills.values()), max(refills.values())
    if most - least < TELL_APART:
        took, needed = f"each pool took {count(most, 'refill')}", ""
        if most > least:
            took = f"their refills differ by only {number(most - least)}, from {span(refills)}"
            needed = f"; ranking them takes a difference of {TELL_APART}"
        differ = _other_differences(case)
        text = f"No pool is recommended: {took}{_why_so_few(case, most, differ=bool(differ))}{needed}."
        return [text, *([f"The pools do differ in {differ}."] if differ else [])]
    sound = [name for name in pools if not failures(case, name)]
    if not sound:
        return ["No recommendation: every pool failed to supply something (see below)."]
    return _cheapest(case, sound, refills)


def _other_differences(case: Case) -> str:
    differ = []
    for words, metric in _OTHER_COUNTS:
        values = {name: case.metrics[name][metric] or 0 for name in case.pools}
        if len(set(values.values())) > 1:
            differ.append(f"{words}: {span(values)}")
    return "; ".join(differ)


def _why_so_few(case: Case, most: float, *, differ: bool) -> str:
    """Why the pools took equally many refills: they needed none, or there was too little to refill for."""
    if not most:
        return ", because what each held before the first event was enough"
    shrunk = any(case.metrics[name]["shrunk_pages"] for name in case.pools)
    served = [
        (order, asked - failed) for name in case.pools for order, (asked, failed) in case.refills.get(name, {}).items()
    ]
    if served and not (differ or shrunk or any(got for order, got in served if order < 9)):
        return ", because every refill got a 2M block, and the pools differ only in what they do without one"
    metrics = next(iter(case.metrics.values()))
    grown = (metrics["ptp_live_peak"] or 0) - (metrics["ptp_live_start"] or 0)
    block, name = case.block_pages, case.leaf_names["2M"]
    if not 0 < grown < TELL_APART * block:
        return ""
    blocks = f"less than a {name} block" if grown < block else f"{number(grown / block)} blocks of {name}"
    return f", because page tables grow by no more than {count(grown, 'page')} ({blocks})"


def _cheapest(case: Case, sound: list[str], refills: dict[str, float]) -> list[str]:
    """The pool that is least in every cost that was measured for all of them."""
    failed = [name for name in case.pools if name not in sound]
    left_out = [f"Left out because of failures: {listed(failed)}."] if failed else []
    bound = "This holds for this recording at default parameters; it says nothing about the risk of running out."
    costs = [cost for cost in _POOL_COSTS if all(cost[1](case, name) is not None for name in sound)]
    words = listed([what for what, *_ in costs])
    values = {what: {name: of(case, name) or 0 for name in sound} for what, of, _ in costs}
    least = {what: [name for name in sound if mine[name] == min(mine.values())] for what, mine in values.items()}
    against = {what: _against(values[what], shown) for what, _, shown in costs}
    winners = [name for name in sound if all(name in names for names in least.values())]
    near = [n for n in sound if n not in winners and winners and abs(refills[n] - refills[winners[0]]) < TELL_APART]
    if len(sound) == 1:
        return [f"No recommendation: nothing is left to compare {sound[0]} with.", *left_out]
    if not costs:
        return ["No recommendation: no cost was measured for all pools.", *left_out]
    if len(winners) == len(sound):
        return [f"No recommendation: {listed(sound)} are equal in {words}.", *left_out]
    if not winners:
        groups: dict[str, list[str]] = defaultdict(list)
        for what, names in least.items():
            groups[listed(names)].append(f"{what} ({against[what]})")
        lowest = "; ".join(f"{names} lowest in {listed(of)}" for names, of in groups.items())
        return [f"No single recommendation, because the costs disagree: {lowest}.", *left_out, bound]
    if len(near) + len(winners) == len(sound):
        return [f"No recommendation: {listed(sound)} are fewer than {TELL_APART} refills apart.", *left_out]
    said = "; ".join(f"{what} {values_of}" for what, values_of in against.items())
    tied = [f"Fewer than {TELL_APART} refills away, and so not ranked below: {listed(near)}."] if near else []
    return [f"Of the pools, {listed(winners)} costs least on every count: {said}.", *tied, *left_out, bound]


def _against(values: dict[str, float], shown: Callable[[float], str]) -> str:
    """The least value against the others: ``11 against 38 to 40``."""
    said = list(dict.fromkeys(shown(value) for value in sorted(values.values())))
    if len(said) == 1:
        return f"{said[0]} for all"
    return f"{said[0]} against {said[1]}" if len(said) == 2 else f"{said[0]} against {said[1]} to {said[-1]}"


def shortfall(case: Case) -> list[str]:
    """Whether any strategy ran out of anything; then what was not modelled, and failures of ordinary allocations."""
    failed = [f"{name} ({listed(failures(case, name))})" for name in case.metrics if failures(case, name)]
    unknown = [
        name
        for name in case.metrics
        if all(case.metrics[name][metric] is None for metric, *_ in _FAILURES) and case.family(name) != "bound"
    ]
    said = [f"Failures in the replay: {'; '.join(failed)}."]
    if not failed:
        said = [
            "In the replay, no strategy failed to supply a page table or a table for a split, and none called the OOM "
            "killer."
        ]
    said += [f"Failures are not modelled for {listed(unknown)}."] if unknown else []
    return said + _excess(case) + _failed_when_recorded(case)


def _excess(case: Case) -> list[str]:
    """Failed allocations and stalls beyond those of `unprotected`."""
    if "unprotected" not in case.metrics:
        return []
    said: dict[str, list[str]] = defaultdict(list)
    for name in case.metrics:
        failed = case.failed_allocations.get(name, 0) - case.failed_allocations.get("unprotected", 0)
        stalls = (case.metrics[name]["stalls"] or 0) - (case.metrics["unprotected"]["stalls"] or 0)
        more = [count(failed, "more failed allocation")] if failed > 0 else []
        more += [count(stalls, "more stall")] if stalls > 0 else []
        if more:
            said[listed(more)].append(name)
    worse = "; ".join(f"{listed(names)} {more}" for more, names in said.items())
    return [f"Compared with unprotected, including the strategies' own requests: {worse}."] if worse else []


def _failed_when_recorded(case: Case) -> list[str]:
    failed = case.quality.get("failed_allocations", 0)
    if not failed:
        return []
    left_out = "that request, because its free is" if failed == 1 else "those requests, because their frees are"
    return [
        f"The recorded machine itself failed {count(failed, 'allocation')}; the replay leaves out {left_out} unknown."
    ]


def failed(case: Case, name: str) -> str:
    """How much a strategy failed to supply, all kinds together."""
    known = [case.metrics[name][metric] for metric, *_ in _FAILURES if case.metrics[name][metric] is not None]
    return number(sum(known)) if known else "n/a"


def failures(case: Case, name: str) -> list[str]:
    """What a strategy failed to supply, by kind."""
    metrics = case.metrics[name]
    found = [count(metrics[metric], one, many) for metric, one, many in _FAILURES if metrics[metric]]
    if case.family(name) != "baseline" and metrics["unkeyed_page_seconds"]:
        found.append(f"{number(metrics['unkeyed_page_seconds'])} page·s of unkeyed tables")
    return found


SECTION = Section("answer", values=lambda case: {"answer": answer(case)})
