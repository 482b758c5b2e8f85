"""Assumptions, and how much they matter: what runs with one thing changed show."""

from reports.case import Case
from reports.formats import cell, count, listed
from reports.section import Section


def sensitivity(case: Case) -> str:
    """How far the results depend on seed, reclaim, machine, costs, copies and parameters, as far as runs show it."""
    (tried,) = case.answers["sensitivity_runs"].records()
    if not tried["runs"]:
        return (
            "This warehouse holds only runs at default settings, so it is unknown how much seed, reclaim and machine "
            "matter. To find out, add runs: `ptpool replay run --seed 1`, `--reclaim moderate`, `--machine 8G`, or "
            "`ptpool replay sweep`."
        )
    text = f"{count(tried['runs'], 'run')} of {count(tried['strategies'], 'strategy', 'strategies')} at other settings"
    worst = {row["changed"]: row for row in reversed(case.answers["sensitivity"].records())}
    if not worst:
        return f"{text}: no count of splits, refills, idle pages, permission changes or failures differs."
    said = []
    for what, row in sorted(worst.items()):
        default, low, high = (cell(row["metric"], row[column]) for column in ("by_default", "lowest", "highest"))
        said.append(f"{what} most in `{row['metric']}` of {row['strategy']} ({default} by default, {low} to {high})")
    return f"{text}. What matters: {listed(said)}."


SECTION = Section("assumptions", values=lambda case: {"sensitivity": sensitivity(case)})
