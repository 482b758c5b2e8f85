"""What differs between the strategies, and why: a short account of each."""

from collections import defaultdict

from reports.case import Case
from reports.formats import count, listed, number, percent
from reports.section import Section

_CAUSES = {
    "refill": "by refills",
    "ptp": "by keying single tables",
    "shrink": "by the shrinker",
    "outside": "from outside",
}
_NEARLY = 0.99


def differences(case: Case) -> list[tuple[str, str]]:
    """For strategies that did the same: their names, and what they did and why in a few sentences."""
    names: dict[str, list[str]] = defaultdict(list)
    for name in case.metrics:
        names[" ".join(part for part in _account(case, name) if part)].append(name)
    return [(", ".join(of), account) for account, of in names.items()]


def _account(case: Case, name: str) -> list[str]:
    if name == "unprotected":
        return ["Today's kernel, with nothing keyed.", _baseline(case)]
    if case.family(name) == "bound":
        return ["A lower bound and no strategy: it knows the whole recording in advance, and no pool needs less."]
    if case.metrics[name]["refills"] is None:
        return _per_table(case, name)
    return [_refills(case, name), _splits(case, name), _memory(case, name)]


def _baseline(case: Case) -> str:
    if case.all_4k:
        return "The map is all 4K: splits are not applicable."
    splits = case.run_time_splits("unprotected")
    if not splits:
        return "" if splits is None else "Nothing else in the recording splits the direct map."
    return (
        "Permission changes outside the page tables (secret memory, modules, BPF) split "
        f"{_leaves(case, 'unprotected')}; every other strategy meets the same changes, at the places that its own "
        "allocator chose."
    )


def _per_table(case: Case, name: str) -> list[str]:
    share, changes = case.metrics[name]["pte_share_mean"], case.metrics[name]["permission_changes"]
    parts = [_splits(case, name)]
    if name == "pte-mapped" and case.all_4k:
        parts = ["The map is all 4K under every strategy here: this one differs only by its permission changes."]
    elif name == "pte-mapped":
        at_4k = f" ({percent(share)} of it at 4K, averaged over time)" if share is not None else ""
        parts = [
            "The direct map is made of 4K pages at boot, so there is no large page to split.",
            f"Its cost is the mapping itself{at_4k}.",
        ]
    how = ": one to key each table when it is allocated, and one when it is freed" if changes else ""
    return parts if changes is None else [*parts, f"It makes {count(changes, 'permission change')}{how}."]


def _refills(case: Case, name: str) -> str:
    total, orders = case.metrics[name]["refills"], sorted(case.refills.get(name, {}).items(), reverse=True)
    if not total:
        return "The pool was never refilled: what it held at the start was enough."
    served = [
        (asked - failed, "a 2M block" if order == 9 else count(1 << order, "page"))
        for order, (asked, failed) in orders
        if asked > failed
    ]
    missed = [
        f"{number(failed)} of {number(asked)} requests for {what} got nothing"
        for order, (asked, failed) in orders
        for what in ["a 2M block" if order == 9 else f"order {order}"]
        if failed
    ]
    text = f"The pool was refilled {'once' if total == 1 else f'{number(total)} times'}"
    if len(served) == 1:
        text += f"{', each time' if total > 1 else ''} with {served[0][1]}"
    elif served:
        text += f": {listed([f'{number(times)} with {what}' for times, what in served])}"
    return f"{text}{f'; {listed(missed)}' if missed else ''}."


def _splits(case: Case, name: str) -> str:
    total = case.run_time_splits(name)
    if case.all_4k:
        return "Splits are not applicable on a map that is all 4K."
    if total is None:
        return ""
    causes: dict[str, int] = defaultdict(int)
    for (_, cause), splits in case.splits.get(name, {}).items():
        causes[cause] += splits
    warm_up = causes.pop("warm_up", 0)
    before = ""
    if warm_up:
        before = f"; {count(warm_up, 'leaf', 'leaves')} before the first event, for the tables that were alive then"
    if not total:
        return f"Nothing was split at run time{before}."
    ranked = sorted(causes.items(), key=lambda cause: -cause[1])
    said = [
        f"{number(n)} {_CAUSES.get(cause, cause)}" if len(ranked) > 1 else _CAUSES.get(cause, cause)
        for cause, n in ranked
    ]
    how = f"{'was' if total == 1 else 'were'} split at run time{f' ({listed(said)})' if said else ''}"
    text = f"{_leaves(case, name)} {how}{before}."
    return f"{text}{_why(case, name, causes.get('refill', 0))}"


def _leaves(case: Case, name: str) -> str:
    """Leaves split at run time: ``1 leaf of 1G and 37 of 2M``."""
    sizes = [(case.metrics[name][f"splits_{leaf}"], leaf.upper()) for leaf in ("1g", "2m")]
    first, *rest = [(n, leaf) for n, leaf in sizes if n]
    return listed(
        [f"{count(first[0], 'leaf', 'leaves')} of {first[1]}", *(f"{number(n)} of {leaf}" for n, leaf in rest)]
    )


def _why(case: Case, name: str, by_refills: int) -> str:
    """Why its refills split as much as they did: a small one costs a split wherever the area is still a 2M leaf."""
    orders = case.refills.get(name, {})
    small = sum(asked - failed for order, (asked, failed) in orders.items() if order < 9)
    whole = sum(asked - failed for order, (asked, failed) in orders.items() if order >= 9)
    if not small:
        return " A refill with a whole 2M block splits no 2M leaf." if whole and not by_refills else ""
    if not by_refills:
        return f" {number(small)} refills got less than a 2M block, all where the map was 4K already."
    others = " (the rest fell where the map was 4K already)" if by_refills < small else ""
    return (
        " A refill of less than a 2M block splits the 2M leaf that it falls into (and the 1G leaf around that), unless "
        f"the map is 4K there already: {count(small, 'such refill')}, {count(by_refills, 'split')}{others}."
    )


def _memory(case: Case, name: str) -> str:
    metrics, reserve = case.metrics[name], case.reserve.get(name)
    held, idle, stranded, low = (
        metrics[m] for m in ("pool_pages_peak", "pool_idle_pages_mean", "stranded_pages_mean", "reserve_pages_min")
    )
    parts = [f"The pool held at most {count(held, 'page')}."] if held is not None else []
    if idle is not None:
        where = ""
        if stranded is not None and round(idle):
            of_them = "nearly all" if stranded > _NEARLY * idle else _about(stranded) if stranded else "none"
            where = f", {of_them} of them in blocks with tables in use (stranded)"
        parts.append(f"On average {_about(idle)} {'page' if round(idle) == 1 else 'pages'} lay idle{where}.")
    if low is not None:
        of = f" (its reserve is {number(reserve)})" if reserve is not None else ""
        parts.append(f"It never had fewer than {count(low, 'page')} cached{of}." if low else f"It ran empty{of}.")
    return " ".join(parts)


def _about(pages: float) -> str:
    """A mean in two digits: the tables have all of them, and a third would separate no strategies."""
    return "no" if not round(pages) else number(float(f"{pages:.2g}") if pages >= 100 else round(pages))


SECTION = Section("differences", values=lambda case: {"differences": differences(case)})
