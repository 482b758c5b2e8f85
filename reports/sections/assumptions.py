"""Assumptions, and how much they matter: what runs with one thing changed say."""

from reports.case import Case
from reports.formats import cell, count, listed
from reports.section import Section


def sensitivity(case: Case) -> str:
    """How far the results hang on seed, reclaim, machine, costs, copies and parameters, by the runs that there are."""
    (tried,) = case.answers["sensitivity_runs"].records()
    if not tried["runs"]:
        return (
            "This warehouse holds runs at default settings alone, so how much seed, reclaim and machine matter "
            "is not known: `ptpool replay run --seed 1`, `--reclaim moderate`, `--machine 8G` "
            "or `ptpool replay sweep` add them."
        )
    rows = case.answers["sensitivity"].records()
    text = f"{count(tried['runs'], 'run')} of {count(tried['strategies'], 'strategy', 'strategies')} at other settings"
    if not rows:
        return f"{text}: no count of splits, refills, idle pages, permission changes or failures differs."
    worst = {row["changed"]: row for row in reversed(rows)}
    said = [
        f"{what} most in `{row['metric']}` of {row['strategy']} ({_value(row, 'by_default')} by default, "
        f"{_value(row, 'lowest')} to {_value(row, 'highest')})"
        for what, row in sorted(worst.items())
    ]
    return f"{text}. What matters: {listed(said)}."


def _value(row: dict[str, object], column: str) -> str:
    return cell(str(row["metric"]), row[column])


SECTION = Section("assumptions", values=lambda case: {"sensitivity": sensitivity(case)})
