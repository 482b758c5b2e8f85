"""The verdict: every strategy by every cost, who is beaten, and how far the answer can be trusted."""

from reports import sensitivity
from reports.section import Section
from reports.sections.answer import details

SECTION = Section(
    "verdict",
    values=lambda case: {
        "wins": sensitivity.wins(case),
        "details": details(case),
        "would_change": sensitivity.would_change(case),
        "cannot_tell": sensitivity.cannot_tell(case),
    },
)
