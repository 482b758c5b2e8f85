"""Sentences on the price of permission changes, and on which of them survive a wrong constant. Pure functions."""

from typing import Any

from reports.case import Case
from reports.formats import count, duration, listed, number, points

BUILT_IN = "built-in"


def order(case: Case) -> list[str]:
    """What stays true when the constants are wrong."""
    rows = case.answers["conversion_order"].records()
    steps = [row for row in rows if row["next_dearer"]]
    if not steps:
        return ["Fewer than two strategies that supplied everything: there is nothing to compare."]
    flush = duration(steps[0]["flush_ns"])
    within = f"for every price of a flush from a tenth of the assumed {flush} to ten times that"
    said = []
    if all(row["holds_for_flush_x10"] for row in steps):
        said.append(f"From cheap to dear, {within}: {_ascending(rows)}.")
    else:
        said.append(f"From cheap to dear at the assumed {flush} a flush: {_ascending(rows)}.")
        said += [f"{_pair(row)} {_turn(row)}" for row in steps if not row["holds_for_flush_x10"]]
    if all(row["holds_in_all_ranges"] for row in steps):
        said.append("The order is the same wherever the constants lie in their ranges, each for itself.")
    else:
        loose = [_pair(row) for row in steps if not row["holds_in_all_ranges"]]
        said.append(f"Not settled while each constant may lie anywhere in its range: {'; '.join(loose)}.")
    said.append(_size(case, rows))
    return [sentence for sentence in said if sentence]


def _ascending(rows: list[dict[str, Any]]) -> str:
    return " < ".join(f"{row['strategies']} ({_price(row)})" for row in rows)


def _price(row: dict[str, Any]) -> str:
    return duration(row["conversion_ns"]) if row["conversion_ns"] else "nothing"


def _pair(row: dict[str, Any]) -> str:
    return f"{row['strategies']} against {row['next_dearer']}"


def _turn(row: dict[str, Any]) -> str:
    return f"turns where a flush takes {duration(row['turns_at_flush_ns'])}."


def _size(case: Case, rows: list[dict[str, Any]]) -> str:
    """How large the dearest price is beside the length of the recording."""
    dearest, seconds = rows[-1], case.capture["seconds"]
    if not dearest["conversion_ns"] or not seconds:
        return ""
    bands = {row["strategy"]: row for row in bands_of(case)}
    band = bands[dearest["strategies"].split(", ")[0]]
    low, high = (100 * band[f"{end}_ns"] / seconds / 1e9 for end in ("low", "high"))
    share = 100 * dearest["conversion_ns"] / seconds / 1e9
    clock = " emulated" if case.capture["timing"] == "emulated" else ""
    return (
        f"The dearest ({dearest['strategies']}) spends {number(share)} % of the recording's{clock} time on one CPU on "
        f"it; {number(low)} to {number(high)} % with every constant at its least or at its most."
    )


def bands_of(case: Case, costs: str = BUILT_IN) -> list[dict[str, Any]]:
    """The rows of `conversion_bands` of one cost profile."""
    return [row for row in case.answers["conversion_bands"].records() if row["costs"] == costs]


def posted(case: Case) -> str:
    """The constants of arm64 against the one posting that measured what a key change per table costs."""
    rows = case.answers["conversion_posted"].records()
    if not rows:
        return ""
    (row,) = rows
    within = row["predicted_points_low"] <= row["posted_points"] <= row["predicted_points_high"]
    return (
        f"Against the one posting that measured it ({row['source']}: {points(row['posted_points'])} on a fork of "
        f"1 GiB, arm64, map all 4K): **without fitting**, the constants give {points(row['predicted_points'])} "
        f"({points(row['predicted_points_low'])} to {points(row['predicted_points_high'])} over their ranges), "
        f"{'which holds the posted figure' if within else 'which misses the posted figure'}; how long that fork took "
        "is not in the posting, and is a constant of the profile. **With fitting**, the posted figure asks for "
        f"{duration(row['fitted_ns'])} a table ({duration(row['fitted_low_ns'])} to "
        f"{duration(row['fitted_high_ns'])}, as the fork took less or more). Nothing in this report is fitted."
    )


def caption(case: Case) -> str:
    """What the figure of the bands shows."""
    rows = bands_of(case)
    priced = [row for row in rows if row["conversion_ns"]]
    none = [row["strategy"] for row in rows if not row["conversion_ns"]]
    text = (
        "Time that permission changes take in the whole recording, logarithmic. Mark: assumed constants; thick: "
        "a flush at a tenth and at ten times its price; thin: every constant at its least and at its most. Strategies "
        "share the constants, so overlapping bands do not mean that their order is open."
        if priced
        else "No strategy changes a permission: there is nothing to draw."
    )
    return text + (f" Nothing to change: {listed(none)}." if none and priced else "")


def per_new_mm(case: Case) -> str:
    """What stands for a fork."""
    if any(row["per_new_mm_ns"] is not None for row in bands_of(case)):
        return (
            "No event of this trace is a fork. What stands for it is a new mm, which both fork and exec make: an "
            "allocation of a PGD (`mm_alloc_pgd()`)."
        )
    return f"{count(0, 'PGD').capitalize()} was seen to be allocated, so nothing can be said per fork."
