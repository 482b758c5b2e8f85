"""The answer in a few sentences: what was asked for, what differs, what may be concluded, what ran out."""

from reports import findings
from reports.case import Case
from reports.section import Section
from reports.verdict import verdict


def answer(case: Case) -> list[str]:
    """The sentences, for the page, the index and the mail."""
    return [findings.demand(case), findings.contrast(case), verdict(case), findings.shortfall(case)]


SECTION = Section("answer", values=lambda case: {"answer": answer(case)})
