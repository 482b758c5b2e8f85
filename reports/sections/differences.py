"""What differs between the strategies, and why."""

from reports.case import Case, family
from reports.formats import count, listed, number, percent
from reports.section import Section


def differences(case: Case) -> list[tuple[str, str]]:
    """For strategies that did the same: their names, and what they did and why in two or three sentences."""
    names: dict[str, list[str]] = {}
    for name in case.metrics:
        names.setdefault(_account(case, name), []).append(name)
    return [(", ".join(of), account) for account, of in names.items()]


def _account(case: Case, name: str) -> str:
    if name == "unprotected":
        return _baseline(case)
    if family(name) == "bound":
        return "A bound, not a strategy: it sees the whole recording, and no supply can do with less."
    if case.metrics[name]["refills"] is None:
        return _per_table(case, name)
    return " ".join(part for part in (_refills(case, name), _split_account(case, name), _memory(case, name)) if part)


def _baseline(case: Case) -> str:
    if case.all_4k:
        return "Today's kernel, nothing keyed. The map is all 4K: splits are not applicable."
    splits = case.run_time_splits("unprotected")
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
    total = case.run_time_splits(name)
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


SECTION = Section("differences", values=lambda case: {"differences": differences(case)})
