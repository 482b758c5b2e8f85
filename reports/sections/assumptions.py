"""Assumptions, and how much they matter: what runs with one thing changed show."""

from reports.case import Case
from reports.formats import count
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
    if not case.answers["sensitivity"].rows:
        return f"{text}: no count of splits, refills, idle pages, permission changes or failures differs."
    return f"{text}; what they change most comes first."


SECTION = Section("assumptions", values=lambda case: {"sensitivity": sensitivity(case)})
