"""The contents of a capture's page, in order. A new section is a template and its name here.

If it has values or figures, it is also a module of that name in ``reports.sections``.
"""

from importlib import import_module
from importlib.util import find_spec

from reports.section import Section

_NAMES = (
    "answer", "verdict", "quality", "summary", "differences", "trade_offs", "splits", "coverage", "mosaic", "pool",
    "agreement", "real_kernel", "run_order", "risk", "mapping_cost", "conversion", "latency", "contention", "sweeps",
    "incidents", "assumptions", "provenance", "glossary",
)  # fmt: skip


def _section(name: str) -> Section:
    module = f"reports.sections.{name}"
    found: Section = import_module(module).SECTION if find_spec(module) else Section(name)
    return found


CONTENTS = tuple(_section(name) for name in _NAMES)
