"""The contents of a capture's page, in order: a new section is a template, perhaps a module, and its place here."""

from reports import cost, findings
from reports.agreement import agreement
from reports.section import Section
from reports.sections import answer, conversion, mapping_cost, mosaic, pool, splits

CONTENTS = (
    answer.SECTION,
    Section("quality", values=lambda case: {"timing": cost.timing(case), "quality": cost.quality(case)}),
    Section("summary"),
    Section("differences", values=lambda case: {"differences": findings.differences(case)}),
    splits.SECTION,
    mosaic.SECTION,
    pool.SECTION,
    Section("agreement", values=lambda case: {"agreement": agreement(case), "baseline": "unprotected" in case.metrics}),
    Section("run_order"),
    mapping_cost.SECTION,
    conversion.SECTION,
    Section("incidents"),
    Section("assumptions"),
    Section("provenance"),
    Section("glossary"),
)
