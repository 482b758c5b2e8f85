"""Data quality: how far a recording can be trusted."""

from reports.case import Case
from reports.formats import count, listed, number
from reports.section import Section

_TIMING = {
    "real": "The recorded machine ran at its own speed.",
    "emulated": "Recorded under emulation: the order of events is real, their rates are not. Time axes and averages "
    "are in emulated seconds, and nothing here about rates or waiting is a finding.",
    "unknown": "Whether the recorded machine ran at its own speed is not recorded: trust the order of events, not "
    "their rates.",
}


def timing(case: Case) -> str:
    """What the capture's time stamps are good for."""
    return _TIMING.get(case.capture["timing"], _TIMING["unknown"])


def quality(case: Case) -> str:
    """How much was lost."""
    rows = [row for row in case.answers["data_quality"].records() if row["value"]]
    bad, noticed = (
        listed([f"{row['what']} {number(row['value'])}" for row in rows if row["severity"] in kinds])
        for kinds in (("data_loss", "error"), ("notice",))
    )
    lost, events = case.capture["lost_events"], case.capture["events"]
    said = [f"The recorder lost {count(lost, 'event')} and kept {number(events)}."] if lost else []
    said += [f"Losses and errors: {bad}."] if bad else []
    said = said or ["The recorder reported no lost event, and none had an error."]
    return " ".join([*said, *([f"Worth knowing: {noticed}."] if noticed else [])])


SECTION = Section("quality", values=lambda case: {"timing": timing(case), "quality": quality(case)})
