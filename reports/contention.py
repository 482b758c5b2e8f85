"""Sentences on how many CPUs can share a pool. Pure functions of a ``Case``."""

from typing import Any

from reports.case import Case
from reports.formats import duration, listed, number, size

MOST_CPUS = 256
NOT_SIMULATED = "Not simulated yet: `ptpool replay contention` does that."


def constants(case: Case, costs: str = "built-in") -> dict[str, dict[str, float]]:
    """Low, typical and high of each constant of a cost profile."""
    rows = case.answers["cost_constants"].records()
    return {row["constant"]: row for row in rows if row["costs"] == costs}


def setting(case: Case) -> str:
    """What every CPU does, and how sure the time is that the list's lock is held."""
    rows = case.answers["contention"].records()
    if not rows:
        return ""
    held = {
        end: sum(constants(case, rows[0]["costs"])[name][end] for name in ("hit_ns", "handoff_ns"))
        for end in ("low", "typical", "high")
    }
    rate, basis = number(round(rows[0]["tables_per_s"], -2)), rows[0]["basis"]
    return (
        f"Each CPU asks for {rate} page tables a second ({basis}), and every table stays in use: the hardest case, in "
        "which every refill has to be paid; a pool that gets its tables back refills less. The list's lock is held for "
        f"{duration(held['typical'])} a table when it comes from another CPU ({duration(held['low'])} to "
        f"{duration(held['high'])}: an assumption). The CPUs that a list allows go with the inverse of both: "
        "half the rate, or half the time, allows twice as many."
    )


def findings(case: Case) -> list[str]:
    """From how many CPUs on waiting costs, and what is held, at a key change of 1 µs and at 100 µs."""
    rows = case.answers["contention_limits"].records()
    said = []
    for refills in dict.fromkeys(row["refills_of"] for row in rows):
        some = [row for row in rows if row["refills_of"] == refills]
        limits = [f"{row['variant']} {_limit(row['cpus_at_1_us'])}" for row in some]
        change = [row for row in some if _moves(row)]
        text = f"Refills of {refills}, a key change of 1 µs: waiting exceeds 5 % {'; '.join(limits)}."
        if change:
            moved = [f"{row['variant']} {_limit(row['cpus_at_100_us'])}" for row in change]
            text += f" At 100 µs: {'; '.join(moved)}."
        said.append(text)
    memory = [
        f"{row['variant']} {size(row['held_by_16_bytes'])} on 16 CPUs and {size(row['held_by_256_bytes'])} on 256"
        for row in rows
        if row["refills_of"] == "2M blocks" and row["held_by_16_bytes"] is not None
    ]
    said.append(f"Held and unused at 1 µs, on average, with 2M blocks: {'; '.join(memory)}.")
    return said


def _moves(row: dict[str, Any]) -> bool:
    """Whether a dearer key change makes a difference of more than a third."""
    before, after = (row[f"cpus_at_{us}_us"] or 2 * MOST_CPUS for us in (1, 100))
    return bool(max(before, after) > 4 / 3 * min(before, after))


def _limit(cpus: float | None) -> str:
    if cpus is None:
        return f"on no number of CPUs up to {MOST_CPUS}"
    return f"from {number(round(cpus))} CPUs on" if cpus > 2 else "on 2 CPUs already"


def caption(case: Case) -> str:
    """What the figure shows."""
    rows = case.answers["contention"].records()
    if not rows:
        return NOT_SIMULATED
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    crossed = {row["variant"] for row in rows if row["lock_wait_share"] > 0.05}
    never = [name for name in variants if name not in crossed]
    text = (
        "To the right of its line a variant spends more than 5 % of page-table allocation time waiting for locks; the "
        "dot says what it holds unused there. Dotted: what a key change on so many CPUs costs by the profile. "
        "The share is of a time that grows with the key change itself: where that dominates, waiting is a smaller part."
    )
    return text + (f" Without a line, because nowhere above 5 %: {listed(never)}." if never else "")
