"""Demand with fewer page tables."""

import numpy as np
import pytest
from toy_machine import OTHER, demand_of

from ptpool.errors import UsageError
from ptpool.vocabulary import CONSUMERS, MOVABLE
from replay.demand.table_share import table_share, with_table_share

TABLE = CONSUMERS.index("pgtable_user")


def recording():
    """3,000 page tables and 1,000 pages of others, each freed again."""
    asked = [("alloc", page, 0, OTHER if page % 4 == 3 else TABLE) for page in range(4000)]
    return demand_of(asked + [("free", page, 0, OTHER) for page in range(4000)], pages=4000)


def test_page_tables_become_pages_of_users_until_the_share_is_as_asked():
    recorded = recording()
    assert table_share(recorded) == 0.75
    fewer = with_table_share(recorded, 0.05)
    assert table_share(fewer) == pytest.approx(0.05, abs=0.01)
    for name in ("op", "ts", "pfn", "order", "cpu", "task"):
        assert (getattr(fewer.program, name) == getattr(recorded.program, name)).all()
    other = fewer.program.consumer != recorded.program.consumer
    assert (fewer.program.migratetype[other] == MOVABLE).all()
    assert list(fewer.changed.values()) == [int(other.sum())]
    again = with_table_share(recorded, 0.05)
    assert (again.program.consumer == fewer.program.consumer).all()
    assert not np.array_equal(with_table_share(recorded, 0.05, 1).program.consumer, fewer.program.consumer)


def test_a_share_that_a_recording_does_not_have_is_refused():
    with pytest.raises(UsageError, match=r"page tables are 0.75 of the pages"):
        with_table_share(recording(), 0.8)
