"""Whether a recording supports a recommendation, and which. Pure functions of a ``Case``."""

from collections.abc import Callable
from dataclasses import dataclass

from reports.case import Case
from reports.findings import failures, run_time_splits, span
from reports.formats import count, listed, number, percent

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
    _Count("splits at run time", run_time_splits),
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
