"""How far a capture can be trusted: what was lost, how far the model agrees with the machine, what is assumed."""

from reports.section import Section
from reports.summary import trust

SECTION = Section("trust", "How far can this be trusted?", values=lambda case: {"trust": trust(case)})
