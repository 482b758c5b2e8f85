"""The pages of a report, in order: those below each capture's page, and those below the index.

Another page is a template of that name in ``templates/pages`` and a line here; figures and values of its own come from
a module of that name in ``reports.sections``.
"""

from reports.section import Section
from reports.sections import choice, contention, conversion, direct_map, pool, pressure, splits, trust

CAPTURE = (
    choice.SECTION,
    splits.SECTION,
    direct_map.SECTION,
    pool.SECTION,
    pressure.SECTION,
    Section("allocations", "What did allocations go through?"),
    Section("mapping_cost", "What does it cost that the map is in small pages?"),
    conversion.SECTION,
    Section("latency", "How long does a page table take?"),
    contention.SECTION,
    Section("sweeps", "Which settings matter?"),
    trust.SECTION,
    Section("numbers", "What are all the numbers, strategy by strategy?"),
    Section("provenance", "How was this made, and how can it be made again?"),
)

INDEX = (
    Section("check", "Can a strategy run out of tables for a split?"),
    Section("real_kernel", "Did a real kernel agree?"),
    Section("published", "What have others measured?"),
    Section("glossary", "What does each number mean?"),
)
