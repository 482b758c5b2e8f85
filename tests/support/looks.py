"""The strategies' looks as a report has them, for tests that write no warehouse."""

from replay.contract.registry import strategies
from reports.case import Look

LOOKS = {name: Look(entry.family, entry.colour, entry.line, entry.marker) for name, entry in strategies().items()}
