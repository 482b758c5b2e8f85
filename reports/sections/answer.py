"""The answer in three points: what was asked for, what may be concluded, what ran out; and what belongs to it."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reports.case import Case, family
from reports.formats import count, duration, listed, number, percent, size, span
from reports.section import Section
from reports.sections import risk

_FAILURES = (
    ("ptp_nulls", "page table that could not be supplied", "page tables that could not be supplied"),
    ("split_starvations", "split without a keyed table", "splits without a keyed table"),
    ("deadlocks", "deadlock", "deadlocks"),
    ("oom_kills", "call of the OOM killer", "calls of the OOM killer"),
)


def demand(case: Case) -> str:
    """How many page tables the recording asks for."""
    metrics = next(iter(case.metrics.values()))
    allocs, start, peak = (metrics[name] for name in ("ptp_allocs", "ptp_live_start", "ptp_live_peak"))
    if allocs == 0:
        return "The recording allocates no page tables."
    parts = []
    if allocs is not None:
        parts.append(f"The recording allocates {count(allocs, 'page table')}")
    if peak is not None:
        fewest = count(-(-peak // case.block_pages), "block")
        blocks = f" (at least {fewest} of {case.leaf_names['2M']})" if peak else ""
        parts.append(f"{'at' if parts else 'At'} most {count(peak, 'page')} of page tables are in use at once{blocks}")
    if start is None:
        before = "how many page tables were alive before the first event is not recorded"
    else:
        before = f"{number(start) if start else 'none'} {'was' if start == 1 else 'were'} alive before the first event"
    text = "; ".join(parts)
    return f"{text}, and {before}." if text else f"{before[0].upper()}{before[1:]}."


def shortfall(case: Case) -> str:
    """Whether any strategy ran out of anything in this recording."""
    failed = [f"{name}: {listed(failures(case, name))}" for name in case.metrics if failures(case, name)]
    unknown = [
        name
        for name in case.metrics
        if all(case.metrics[name][metric] is None for metric, *_ in _FAILURES) and family(name) != "bound"
    ]
    text = (
        f"What could not be had in the replay: {'; '.join(failed)}."
        if failed
        else "In the replay, no strategy failed to supply a page table or a table for a split, "
        "and none called the OOM killer."
    )
    text += f" Not modelled for {listed(unknown)}." if unknown else ""
    return text + _excess(case) + _failed_when_recorded(case)


def _excess(case: Case) -> str:
    """Failed allocations and stalls that a strategy has and `unprotected` has not."""
    if "unprotected" not in case.metrics:
        return ""
    said: dict[str, list[str]] = {}
    for name in case.metrics:
        failed = case.failed_allocations.get(name, 0) - case.failed_allocations.get("unprotected", 0)
        stalls = (case.metrics[name]["stalls"] or 0) - (case.metrics["unprotected"]["stalls"] or 0)
        more = [count(failed, "more failed allocation")] if failed > 0 else []
        more += [count(stalls, "more stall")] if stalls > 0 else []
        if more:
            said.setdefault(listed(more), []).append(name)
    worse = [f"{listed(names)} {more}" for more, names in said.items()]
    return f" Against unprotected, with the strategies' own requests: {'; '.join(worse)}." if worse else ""


def _failed_when_recorded(case: Case) -> str:
    failed = case.quality.get("failed_allocations", 0)
    if not failed:
        return ""
    those = "that request" if failed == 1 else "those requests"
    return (
        f" The recorded machine itself failed {count(failed, 'allocation')}; the replay leaves {those} out, "
        f"because nobody knows when {'it' if failed == 1 else 'they'} would have been freed."
    )


def failed(case: Case, name: str) -> str:
    """How much a strategy could not supply, all kinds together."""
    known = [case.metrics[name][metric] for metric, *_ in _FAILURES if case.metrics[name][metric] is not None]
    return number(sum(known)) if known else "n/a"


def failures(case: Case, name: str) -> list[str]:
    """What a strategy could not supply, each kind by itself."""
    metrics = case.metrics[name]
    found = [count(metrics[metric], one, many) for metric, one, many in _FAILURES if metrics[metric]]
    if family(name) != "baseline" and metrics["unkeyed_page_seconds"]:
        found.append(f"{number(metrics['unkeyed_page_seconds'])} page·s of tables without the key")
    return found


TELL_APART = 10
"""Pool strategies whose refills differ by fewer than this are not told apart by a recording."""


_BOUND = " This holds for this recording and default parameters, and says nothing about the risk of running out."


@dataclass(frozen=True)
class _Count:
    """Something that pools are compared by: less is better."""

    what: str
    of: Callable[[Case, str], float | None]
    said: Callable[[float], str] = number


COUNTS = (
    _Count("splits at run time", Case.run_time_splits),
    _Count("share of the map at 4K", lambda case, name: case.metrics[name]["pte_share_mean"], percent),
    _Count(
        "idle pages", lambda case, name: case.metrics[name]["pool_idle_pages_mean"], lambda value: number(round(value))
    ),
)


def verdict(case: Case) -> str:
    """A recommendation where the recording supports one; otherwise that there is none, and why."""
    if case.all_4k:
        return (
            "No recommendation: with a map that is all 4K, splits are not applicable, and this recording cannot tell "
            "the strategies apart by what they do to the direct map."
        )
    if all(metrics["ptp_allocs"] == 0 for metrics in case.metrics.values()):
        return "No recommendation: no page table is allocated, so there is nothing to supply."
    pools = case.pools
    if len(pools) < 2:
        return (
            f"No recommendation: {count(len(pools), 'strategy', 'strategy')} with a pool was replayed, "
            "and a comparison takes two."
        )
    refills = {name: case.metrics[name]["refills"] for name in pools}
    apart = max(refills.values()) - min(refills.values())
    if apart < TELL_APART:
        took = (
            f"differ by {count(apart, 'refill')}, from {span(refills)}, which is fewer than {TELL_APART}"
            if apart
            else f"took equally many refills ({number(max(refills.values()))} each)"
        )
        elsewhere = _elsewhere(case)
        why = _why_so_few(case, max(refills.values()), elsewhere=bool(elsewhere))
        text = f"No recommendation: the pool strategies {took}; this recording cannot tell them apart"
        return f"{text} by refills{why}. The pools did differ in {elsewhere}." if elsewhere else f"{text}{why}."
    sound = [name for name in pools if not failures(case, name)]
    if not sound:
        return "No recommendation: every pool strategy failed to supply something (see what went wrong, below)."
    return _cheapest(case, sound, refills)


def _elsewhere(case: Case) -> str:
    """In what the pools differed beside refills: their shrinkers, their permission changes, requests for a block."""
    differ = []
    for what, metric in _BESIDE:
        values = {name: case.metrics[name][metric] or 0 for name in case.pools}
        if len(set(values.values())) > 1:
            differ.append(f"{what}: {span(values)}")
    return "; ".join(differ)


_BESIDE = (
    ("pages given back by a shrinker", "shrunk_pages"),
    ("permission changes", "permission_changes"),
    ("failed 2M allocations", "block_failures"),
)


def _why_so_few(case: Case, most: float, *, elsewhere: bool) -> str:
    """What kept the pools from differing: nothing had to be refilled, or there was too little to refill for."""
    if not most:
        return ", because no pool had to be refilled: what each held before the first event was enough"
    shrunk = any(case.metrics[name]["shrunk_pages"] for name in case.pools)
    served = [
        (order, asked - failed) for name in case.pools for order, (asked, failed) in case.refills.get(name, {}).items()
    ]
    if served and not (elsewhere or shrunk or any(got for order, got in served if order < 9)):
        return ", because every refill got a 2M block: what they fall back to, where they differ, never came into play"
    metrics = next(iter(case.metrics.values()))
    start, peak = metrics["ptp_live_start"], metrics["ptp_live_peak"]
    grown = (peak or 0) - (start or 0)
    size, name = case.block_pages, case.leaf_names["2M"]
    if not 0 < grown < TELL_APART * size:
        return ""
    blocks = f"less than a {name} block" if grown < size else f"{number(grown / size)} blocks of {name}"
    return f", because its page tables grow by no more than {count(grown, 'page')} ({blocks})"


def _cheapest(case: Case, sound: list[str], refills: dict[str, float]) -> str:
    """Compare on what was measured for all of them; whoever is least on every count costs least."""
    failed = [name for name in case.pools if name not in sound]
    but = f" Left out, because it could not supply everything: {listed(failed)}." if failed else ""
    if len(sound) == 1:
        return f"No recommendation: nothing is left to compare {sound[0]} with.{but}"
    counts = [c for c in COUNTS if all(c.of(case, name) is not None for name in sound)]
    if not counts:
        return f"No recommendation: no count was measured for all pool strategies.{but}"
    least = {c: _least(case, sound, c) for c in counts}
    best = [name for name in sound if all(name in names for names in least.values())]
    if len(best) == len(sound):
        return f"No recommendation: {listed(sound)} are equal in {listed([c.what for c in counts])}.{but}"
    if not best:
        groups = {tuple(names): [c for c in counts if least[c] == names] for names in least.values()}
        said = [
            f"{listed(list(names))} least in {listed([f'{c.what} ({_against(case, sound, c)})' for c in group])}"
            for names, group in groups.items()
        ]
        return f"No single recommendation, because the counts disagree: {'; '.join(said)}.{but}{_BOUND}"
    near = [n for n in sound if n not in best and abs(refills[n] - refills[best[0]]) < TELL_APART]
    if len(near) + len(best) == len(sound):
        return f"No recommendation: {listed(sound)} are fewer than {TELL_APART} refills apart.{but}"
    said = [f"{c.what} {_against(case, sound, c)}" for c in counts]
    tied = f" Fewer than {TELL_APART} refills away, so not told apart from it: {listed(near)}." if near else ""
    return f"Of the pools, {listed(best)} costs least here on every count: {'; '.join(said)}.{tied}{but}{_BOUND}"


def _least(case: Case, names: list[str], count: _Count) -> list[str]:
    values = {name: count.of(case, name) for name in names}
    return [name for name, value in values.items() if value == min(v for v in values.values() if v is not None)]


def _against(case: Case, names: list[str], count: _Count) -> str:
    """The values of all, smallest first: ``11 (reserve-block), 38 (pba)``; two are put against each other."""
    values = sorted({value for name in names if (value := count.of(case, name)) is not None})
    said = list(dict.fromkeys(count.said(value) for value in values))
    if len(said) == 1:
        return f"{said[0]} for all"
    return f"{said[0]} against {said[1]}" if len(said) == 2 else f"{said[0]} against {said[1]} to {said[-1]}"


COSTS: tuple[tuple[str, Callable[[dict[str, Any]], float | None], Callable[[float], str]], ...] = (
    ("splits", lambda row: None if row["splits_2m"] is None else row["splits_1g"] + row["splits_2m"], number),
    ("memory held", lambda row: row["held_bytes"], size),
    ("share at 4K", lambda row: row["pte_share_mean"], percent),
    ("time in permission changes", lambda row: row["conversion_ns"], duration),
    ("99th percentile of an allocation", lambda row: row["ptp_alloc_p99_ns"], duration),
)
"""Costs that a sentence compares; the table has more."""


def unbeaten(case: Case) -> str:
    """The strategies that no other beats, together where two digits do not tell them apart; empty: none to compare."""
    _, sound = keyed(case)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in best(sound) if len(sound) > 1 else []:
        alike[tuple("" if (value := of(row)) is None else f"{value:.2g}" for _, of, _ in COSTS)].append(row["strategy"])
    return "; ".join(listed(names) + (" (not told apart)" if len(names) > 1 else "") for names in alike.values())


def keyed(case: Case) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the verdict says of all strategies with a key, and of those that supplied everything."""
    rows = [row for row in case.answers["verdict"].records() if row["strategy"] != "unprotected"]
    return rows, [row for row in rows if row["standing"] in ("none beats it", "beaten")]


def best(sound: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that no other beats."""
    return [row for row in sound if row["standing"] == "none beats it"]


def answer(case: Case) -> list[str]:
    """Three points, for the page, the index and the mail."""
    asked, chosen, ran_out = (sentences[0] for sentences in texts(case))
    first = unbeaten(case)
    if first:
        among = chosen.replace("No recommendation: the pool strategies", "No recommendation among the pools: they")
        chosen = f"Beaten by no other, all costs taken together: {first}. {among}"
    return [asked, chosen, " ".join(part for part in (ran_out, risk.brief(case)) if part)]


def texts(case: Case) -> list[list[str]]:
    """What was asked for, what may be concluded, what ran out: the sentences of each."""
    return [_sentences(text) for text in (demand(case), verdict(case), shortfall(case))]


def _sentences(text: str) -> list[str]:
    """A sentence ends with a full stop that a capital letter follows: names of strategies have none."""
    return re.split(r"(?<=\.) (?=[A-Z])", text)


SECTION = Section("answer", values=lambda case: {"answer": answer(case)})
