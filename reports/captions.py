"""What each figure shows, said in a sentence with its numbers; also what to say where there is nothing to draw."""

from reports.case import Case
from reports.findings import run_time_splits
from reports.formats import count, listed, number, percent


def time_unit(case: Case) -> str:
    """What the time axes count."""
    return "emulated seconds" if case.capture["timing"] == "emulated" else "seconds"


def splits(case: Case) -> str:
    """The finding of the splits figure."""
    if case.all_4k:
        return "The direct map is all 4K: splits are not applicable, and there is nothing to draw."
    totals = {name: run_time_splits(case, name) for name in case.metrics}
    drawn = {row["strategy"] for row in case.answers["splits_over_time"].records()}
    none = [name for name, total in totals.items() if total == 0 and name not in drawn]
    flat = [name for name, total in totals.items() if total is None and name not in drawn]
    text = (
        f"Splits at run time: {listed([f'{name} {number(totals[name] or 0)}' for name in totals if name in drawn])}."
        if drawn
        else ""
    )
    text += f" No splits: {listed(none)}." if none else ""
    text += f" Not applicable: {listed(flat)}." if flat else ""
    warm = {
        name: sum(n for (_, cause), n in case.splits.get(name, {}).items() if cause == "warm_up") for name in totals
    }
    before = [f"{name} {number(n)}" for name, n in warm.items() if n]
    return text.strip() + (
        f" Before the first event, while placing the tables alive then (not in the curves): {listed(before)}."
        if before
        else ""
    )


def pool(case: Case) -> str:
    """The finding of the pool figure."""
    dips = []
    for name in case.pools:
        low, reserve = case.metrics[name]["reserve_pages_min"], case.reserve.get(name)
        if low is not None and reserve is not None:
            dips.append(f"{name} {number(low)} (reserve {number(reserve)})")
        elif low is not None:
            dips.append(f"{name} {number(low)}")
    held = [f"{name} {number(case.metrics[name]['pool_pages_peak'])}" for name in case.pools
            if case.metrics[name]["pool_pages_peak"] is not None]  # fmt: skip
    text = f"Most pages held: {listed(held)}." if held else ""
    return f"{text} Fewest pages cached at any time: {listed(dips)}." if dips else text


def mosaic(case: Case, strategy: str) -> str:
    """The finding of one strategy's picture of the direct map."""
    rows = {row["moment"]: row for row in case.answers["map_coverage"].records() if row["strategy"] == strategy}
    if "start" not in rows or "end" not in rows:
        return f"**{strategy}**: no direct map was recorded by the replay."
    start, end = rows["start"], rows["end"]
    names = case.leaf_names
    changed = [
        f"{names[leaf]} {percent(start[column] / start['pages'])} to {percent(end[column] / end['pages'])}"
        for leaf, column in (("1G", "pages_1g"), ("2M", "pages_2m"), ("4K", "pages_4k"))
        if start[column] != end[column]
    ]
    text = f"**{strategy}**: "
    text += f"of the direct map's bytes, {listed(changed)}" if changed else "every leaf kept its size"
    if end["pages_keyed"]:
        large = end["pages_keyed"] - end["pages_keyed_4k"]
        of_them = "all" if large == end["pages_keyed"] else number(large) if large else "none"
        text += f"; {count(end['pages_keyed'], 'page')} keyed at the end, {of_them} of them in leaves larger than "
        text += names["4K"]
    elif not start["pages_keyed"]:
        text += "; nothing is keyed"
    return text + "."
