"""The recorded demand with fewer page tables: some are memory of users instead, page for page.

Captures that are made to show page tables consist of little else; on most machines they are 1 to 5 % of what is
allocated. What a pool does to a machine that is short of memory depends on that share more than on anything else.
"""

from dataclasses import replace

import numpy as np

from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS, MOVABLE
from replay.demand.demand import Demand
from replay.demand.program import ALLOC
from replay.kernel.gfp import GFP_KERNEL, ZONE_CLASS_MASK
from replay.kernel.mmzone import ZONE_MOVABLE

_PAGE_TABLES = [CONSUMERS.index(name) for name in ("pgtable_user", "pgtable_kernel")]
_GFP_HIGHUSER_MOVABLE = GFP_KERNEL & ~ZONE_CLASS_MASK | ZONE_MOVABLE


def table_share(demand: Demand) -> float:
    """Share of the pages that a recording allocates which page tables are."""
    pages, tables = _pages(demand)
    return float(tables.sum() / max(pages.sum(), 1))


def with_table_share(demand: Demand, share: float, seed: int = 0) -> Demand:
    """The demand in which page tables are this share of the pages allocated.

    Each page table stays one with the same probability, drawn by seed; any other is a page of a user, movable, from
    its allocation to its free (GFP_HIGHUSER_MOVABLE). How many pages are asked for, and when, stays as recorded.

    Raises:
        UsageError: the recording has no such share of page tables.
    """
    recorded, program = table_share(demand), demand.program
    if share > recorded:
        raise UsageError(
            f"--table-share {share:g}: page tables are {recorded:.2g} of the pages that this recording allocates",
            "leave it out, or ask for less",
        )
    tables = _pages(demand)[1] > 0
    other = tables & (np.random.default_rng(seed).random(len(tables)) >= share / recorded)
    changed = f"Changed: {{}} of {tables.sum():,} page tables are movable pages of users instead (--table-share)."
    return replace(
        demand,
        program=program._replace(
            consumer=np.where(other, CONSUMERS.index("other"), program.consumer).astype(np.uint8),
            migratetype=np.where(other, MOVABLE, program.migratetype).astype(np.uint8),
            context=np.where(other, _GFP_HIGHUSER_MOVABLE, program.context).astype(np.uint16),
        ),
        changed=demand.changed | {changed: int(other.sum())},
    )


def _pages(demand: Demand) -> tuple[np.ndarray, np.ndarray]:
    """(N,) pages that each event allocates; those of page tables."""
    program = demand.program
    pages = np.where(program.op == ALLOC, np.int64(1) << program.order.astype(np.int64), 0)
    return pages, np.where(np.isin(program.consumer, _PAGE_TABLES), pages, 0)
