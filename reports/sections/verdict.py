"""The verdict: every strategy by every cost, who is beaten, and how far the answer can be trusted."""

from reports import sensitivity
from reports.section import Section

SECTION = Section(
    "verdict",
    values=lambda case: {
        "wins": sensitivity.wins(case),
        "would_change": sensitivity.would_change(case),
        "cannot_tell": sensitivity.cannot_tell(case),
    },
)
