"""Sentences from numbers: what differs between the strategies, by how much, and why. Pure functions of a ``Case``."""

from collections.abc import Callable, Mapping

from reports.case import Case
from reports.formats import count, listed, number, percent

MEASURED_FROM = 0.01
"""Smallest share of the direct map at 4K that the published measurements are taken to say something about."""

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


def contrast(case: Case) -> str:
    """The one sentence on how far the pool strategies lie apart."""
    if case.all_4k:
        return "The direct map is all 4K from the start, so no strategy has a large page to split."
    refills = {name: case.metrics[name]["refills"] for name in case.pools}
    splits = {name: total for name in refills if (total := run_time_splits(case, name)) is not None}
    if not splits:
        return "No strategy with a pool was replayed."
    if len(splits) > _FEW:
        text = f"The pools took {span(refills)} refills and {span(splits)} splits of the direct map at run time."
    else:
        said = [f"{n} {count(refills[n], 'refill')} and {count(splits[n], 'split')} of the direct map" for n in splits]
        text = f"The pools took, at run time: {'; '.join(said)}."
    baseline = run_time_splits(case, "unprotected") if "unprotected" in case.metrics else None
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


def span(values: Mapping[str, float], said: Callable[[float], str] = number) -> str:
    """From the least to the most, each with its name: ``58 (self-split) to 128 (generic)``."""
    least, most = min(values, key=lambda n: values[n]), max(values, key=lambda n: values[n])
    if said(values[least]) == said(values[most]):
        return said(values[least])
    return f"{said(values[least])} ({least}) to {said(values[most])} ({most})"


def shortfall(case: Case) -> str:
    """Whether any strategy ran out of anything in this recording."""
    failed = [f"{name}: {listed(failures(case, name))}" for name in case.metrics if failures(case, name)]
    unknown = [
        name
        for name in case.metrics
        if all(case.metrics[name][metric] is None for metric, *_ in _FAILURES) and case.family(name) != "bound"
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
    if case.family(name) != "baseline" and metrics["unkeyed_page_seconds"]:
        found.append(f"{number(metrics['unkeyed_page_seconds'])} page·s of tables without the key")
    return found


def run_time_splits(case: Case, name: str) -> float | None:
    """Splits of 1G and 2M leaves after the first event."""
    metrics = case.metrics[name]
    known = [metrics[leaf] for leaf in ("splits_1g", "splits_2m") if metrics[leaf] is not None]
    return sum(known) if known else None


def differences(case: Case) -> list[tuple[str, str]]:
    """For strategies that did the same: their names, and what they did and why in two or three sentences."""
    names: dict[str, list[str]] = {}
    for name in case.metrics:
        names.setdefault(_account(case, name), []).append(name)
    return [(", ".join(of), account) for account, of in names.items()]


def _account(case: Case, name: str) -> str:
    if name == "unprotected":
        return _baseline(case)
    if case.family(name) == "bound":
        return "A bound, not a strategy: it sees the whole recording, and no supply can do with less."
    if case.metrics[name]["refills"] is None:
        return _per_table(case, name)
    return " ".join(part for part in (_refills(case, name), _split_account(case, name), _memory(case, name)) if part)


def _baseline(case: Case) -> str:
    if case.all_4k:
        return "Today's kernel, nothing keyed. The map is all 4K: splits are not applicable."
    splits = run_time_splits(case, "unprotected")
    if splits is None:
        return "Today's kernel, nothing keyed."
    if not splits:
        return "Today's kernel, nothing keyed; nothing else in the recording splits the direct map."
    return (
        "Today's kernel, nothing keyed. Permission changes outside the page tables (secret memory, modules, BPF) "
        f"split {_leaves(case, 'unprotected')}; every other strategy meets the same changes, at the places "
        "that its own allocator chose."
    )


def _per_table(case: Case, name: str) -> str:
    metrics = case.metrics[name]
    parts = [_split_account(case, name)]
    if name == "pte-mapped":
        share = metrics["pte_share_mean"]
        at_4k = f" ({percent(share)} of it at 4K, averaged over time)" if share is not None else ""
        parts = ["The direct map is made of 4K pages at boot: there is no large page to split.",
                 f"Its cost is the mapping itself{at_4k}."]  # fmt: skip
        if case.all_4k:
            parts = ["The map is all 4K for every strategy here: it differs by its permission changes alone."]
    if metrics["permission_changes"] is not None:
        changes = count(metrics["permission_changes"], "permission change")
        how = ": a key set per table allocated, and cleared per table freed" if metrics["permission_changes"] else ""
        parts.append(f"It makes {changes}{how}.")
    return " ".join(part for part in parts if part)


def _refills(case: Case, name: str) -> str:
    total, orders = case.metrics[name]["refills"], case.refills.get(name, {})
    if not total:
        return "It never refilled its pool: what it held at the start was enough."
    served = [
        f"{number(asked - failed)} with {_ORDERS.get(order, count(1 << order, 'page'))}"
        for order, (asked, failed) in sorted(orders.items(), reverse=True)
        if asked > failed
    ]
    missed = [
        f"{number(failed)} of {number(asked)} requests for {_ORDERS.get(order, f'order {order}')} got nothing"
        for order, (asked, failed) in sorted(orders.items(), reverse=True)
        if failed
    ]
    text = f"It refilled its pool {_times(total)}"
    if len(served) == 1:
        text += (
            f", each time with {served[0].split(' with ')[1]}" if total > 1 else f" with {served[0].split(' with ')[1]}"
        )
    else:
        text += f": {listed(served)}" if served else ""
    return text + (f"; {listed(missed)}." if missed else ".")


_ORDERS = {9: "a 2M block"}


def _times(value: float) -> str:
    return "once" if value == 1 else f"{number(value)} times"


def _split_account(case: Case, name: str) -> str:
    total = run_time_splits(case, name)
    if case.all_4k:
        return "Splits are not applicable on a map that is all 4K."
    if total is None:
        return ""
    causes: dict[str, int] = {}
    for (_, cause), splits in case.splits.get(name, {}).items():
        causes[cause] = causes.get(cause, 0) + splits
    warm_up = causes.pop("warm_up", 0)
    before = ""
    if warm_up:
        before = f"; {count(warm_up, 'leaf', 'leaves')} before the first event, while placing the tables alive then"
    if not total:
        return f"It split nothing at run time{before}."
    by_cause = [f"{number(n)} {CAUSES.get(cause, cause)}" for cause, n in sorted(causes.items(), key=lambda c: -c[1])]
    by_cause = by_cause if len(causes) > 1 else [CAUSES.get(cause, cause) for cause in causes]
    text = f"It split {_leaves(case, name)} at run time"
    text += f" ({listed(by_cause)})" if by_cause else ""
    return f"{text}{before}.{_why(case, name, causes.get('refill', 0))}"


CAUSES = {
    "refill": "by its refills",
    "ptp": "by keying single tables",
    "shrink": "by its shrinker",
    "outside": "from outside",
}


def _leaves(case: Case, name: str) -> str:
    """Leaves split at run time: ``1 leaf of 1G and 37 of 2M``."""
    metrics = case.metrics[name]
    sizes = [(metrics[metric], leaf) for metric, leaf in (("splits_1g", "1G"), ("splits_2m", "2M")) if metrics[metric]]
    first, *rest = [
        f"{count(n, 'leaf', 'leaves') if i == 0 else number(n)} of {leaf}" for i, (n, leaf) in enumerate(sizes)
    ]
    return listed([first, *rest])


def _why(case: Case, name: str, by_refills: int) -> str:
    """Why its refills split as much as they did: small chunks cost a split where the area is still a 2M leaf."""
    orders = case.refills.get(name, {})
    small = sum(asked - failed for order, (asked, failed) in orders.items() if order < 9)
    whole = sum(asked - failed for order, (asked, failed) in orders.items() if order >= 9)
    if not small:
        return " A refill with a whole 2M block needs no split of a 2M leaf." if whole and not by_refills else ""
    if not by_refills:
        return f" {number(small)} of its refills got less than a 2M block, all where the map was 4K already."
    others = " (the rest fell where the map was 4K already)" if by_refills < small else ""
    return (
        " A refill of less than a 2M block splits the 2M leaf that it falls into (and the 1G leaf around that), "
        f"unless that is 4K already: {count(small, 'such refill')}, {count(by_refills, 'split')}{others}."
    )


_NEARLY = 0.99


def _about(pages: float) -> str:
    """A mean in two digits: the tables have all of them, and the third tells no strategies apart."""
    return "no" if not round(pages) else number(float(f"{pages:.2g}") if pages >= 100 else round(pages))


def _memory(case: Case, name: str) -> str:
    metrics = case.metrics[name]
    held, idle, stranded = (metrics[m] for m in ("pool_pages_peak", "pool_idle_pages_mean", "stranded_pages_mean"))
    parts = [f"The pool held at most {count(held, 'page')}."] if held is not None else []
    if idle is not None:
        beside = ""
        if stranded is not None and round(idle):
            of_them = "nearly all" if stranded > _NEARLY * idle else _about(stranded) if stranded else "none"
            beside = f", {of_them} of them stranded beside tables in use"
        parts.append(f"On average {_about(idle)} {'page' if round(idle) == 1 else 'pages'} lay idle{beside}.")
    low, reserve = metrics["reserve_pages_min"], case.reserve.get(name)
    if low is not None:
        of = f" (its reserve is {number(reserve)})" if reserve is not None else ""
        parts.append(f"It was never below {count(low, 'page')} cached{of}." if low else f"It ran empty{of}.")
    return " ".join(parts)
