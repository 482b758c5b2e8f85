"""The contents of a capture's page, in order: a new section is a template, perhaps a module, and its place here."""

from reports import cost, findings
from reports.section import Section
from reports.sections import (
    agreement,
    answer,
    assumptions,
    contention,
    conversion,
    coverage,
    latency,
    mapping_cost,
    mosaic,
    pool,
    risk,
    run_order,
    splits,
    sweeps,
    trade_offs,
    verdict,
)

CONTENTS = (
    answer.SECTION,
    verdict.SECTION,
    Section("quality", values=lambda case: {"timing": cost.timing(case), "quality": cost.quality(case)}),
    Section("summary"),
    Section("differences", values=lambda case: {"differences": findings.differences(case)}),
    trade_offs.SECTION,
    splits.SECTION,
    coverage.SECTION,
    mosaic.SECTION,
    pool.SECTION,
    agreement.SECTION,
    run_order.SECTION,
    risk.SECTION,
    mapping_cost.SECTION,
    conversion.SECTION,
    latency.SECTION,
    contention.SECTION,
    sweeps.SECTION,
    Section("incidents"),
    assumptions.SECTION,
    Section("provenance"),
    Section("glossary"),
)
