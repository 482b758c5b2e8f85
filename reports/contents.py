"""The pages of a report, in order: those below each capture's page, and those below the index.

Another page is a template of that name in ``templates/pages`` and a line here; values and figures of its own come from
a module of that name in ``reports.sections``.
"""

from reports.section import Section
from reports.sections import (
    choice, contention, conversion, latency, map, mapping_cost, pool, pressure, splits, sweeps, trust,
)  # fmt: skip

CAPTURE = (
    choice.SECTION,
    splits.SECTION,
    map.SECTION,
    pool.SECTION,
    pressure.SECTION,
    Section("allocations", "What did allocations go through?"),
    mapping_cost.SECTION,
    conversion.SECTION,
    latency.SECTION,
    contention.SECTION,
    sweeps.SECTION,
    trust.SECTION,
    Section("numbers", "All numbers, strategy by strategy"),
    Section("provenance", "How was this made, and how can it be made again?"),
)

INDEX = (
    Section("check", "Can a strategy run out of tables for a split?"),
    Section("real_kernel", "Did a real kernel agree?"),
    Section("published", "What have others measured?"),
    Section("glossary", "What does each number mean?"),
)
