"""The answer in three points: what was asked for, what may be concluded, what ran out; and what belongs to it."""

import re

from reports import findings, sensitivity
from reports.case import Case
from reports.section import Section
from reports.sections import risk
from reports.verdict import verdict


def answer(case: Case) -> list[str]:
    """Three points, for the page, the index and the mail."""
    asked, chosen, ran_out = (sentences[0] for sentences in _texts(case))
    best = sensitivity.unbeaten(case)
    if best:
        among = chosen.replace("No recommendation: the pool strategies", "No recommendation among the pools: they")
        chosen = f"Beaten by no other, all costs taken together: {best}. {among}"
    return [asked, chosen, " ".join(part for part in (ran_out, risk.brief(case)) if part)]


def details(case: Case) -> list[str]:
    """What the pools did to the map, and what limits or explains the answer."""
    return [findings.contrast(case), *(" ".join(rest) for _, *rest in _texts(case) if rest)]


def _texts(case: Case) -> list[list[str]]:
    return [_sentences(text) for text in (findings.demand(case), verdict(case), findings.shortfall(case))]


def _sentences(text: str) -> list[str]:
    """A sentence ends with a full stop that a capital letter follows: names of strategies have none."""
    return re.split(r"(?<=\.) (?=[A-Z])", text)


SECTION = Section("answer", values=lambda case: {"answer": answer(case)})
