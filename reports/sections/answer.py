"""The answer in three sentences: what was asked for, what may be concluded, what ran out; and what belongs to it."""

import re

from reports import findings
from reports.case import Case
from reports.section import Section
from reports.verdict import verdict


def answer(case: Case) -> list[str]:
    """Three sentences, for the page, the index and the mail."""
    return [sentences[0] for sentences in _texts(case)]


def details(case: Case) -> list[str]:
    """What the pools did to the map, and what limits or explains the three sentences."""
    return [findings.contrast(case), *(" ".join(rest) for _, *rest in _texts(case) if rest)]


def _texts(case: Case) -> list[list[str]]:
    return [_sentences(text) for text in (findings.demand(case), verdict(case), findings.shortfall(case))]


def _sentences(text: str) -> list[str]:
    """A sentence ends with a full stop that a capital letter follows: names of strategies have none."""
    return re.split(r"(?<=\.) (?=[A-Z])", text)


SECTION = Section("answer", values=lambda case: {"answer": answer(case)})
