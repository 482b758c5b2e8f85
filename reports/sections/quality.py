"""Data quality: how far a recording can be trusted."""

from reports.case import Case
from reports.formats import count, listed, number
from reports.section import Section

TIMING = {
    "real": "Recorded on a machine that ran at its own speed.",
    "emulated": "Recorded under emulation: the order of events is real, their rates are not. Time axes and time "
    "averages are in emulated seconds, and nothing here about rates or waiting is a finding.",
    "unknown": "Nobody recorded whether this machine ran at its own speed: read the order of events, not their rates.",
}


def timing(case: Case) -> str:
    """What the capture's time stamps are good for."""
    return TIMING.get(case.capture["timing"], TIMING["unknown"])


def quality(case: Case) -> str:
    """How much was lost, in one sentence."""
    rows = [row for row in case.answers["data_quality"].records() if row["value"]]
    worst = [row for row in rows if row["severity"] in ("data_loss", "error")]
    notices = [f"{row['what']} {number(row['value'])}" for row in rows if row["severity"] == "notice"]
    noticed = f" Noticed: {listed(notices)}." if notices else ""
    lost, events = case.capture["lost_events"], case.capture["events"]
    if not worst and not lost:
        return f"The recorder knows of no lost event, and none was in error.{noticed}"
    parts = [f"{row['what']} {number(row['value'])}" for row in worst]
    text = f"The recorder lost {count(lost, 'event')} beside the {number(events)} kept" if lost else ""
    said = [part for part in (text, f"losses and errors: {listed(parts)}" if parts else "") if part]
    return f"{'; '.join(said)}.{noticed}"


SECTION = Section("quality", values=lambda case: {"timing": timing(case), "quality": quality(case)})
