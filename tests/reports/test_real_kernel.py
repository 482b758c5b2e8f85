"""The section on strategies in a real kernel, from comparisons as `replay validate --pools` keeps them."""

import pytest

from ptpool.warehouse import open_warehouse
from replay.validate.pools import PoolComparison, keep
from reports.questions import ask

ROWS = [
    PoolComparison("frag4-pba", "pba", "exact", "refills_got", 4, 326, 326, 326, 325, 325, 325, 6.52),
    PoolComparison("frag4-pba", "pba", "exact", "splits_2m", None, 41, 41, 41, 52, 52, 52, 4.1),
    PoolComparison("frag4-pba", "pba", "ordinary", "splits_2m", None, 41, 41, 41, 60, 55, 61, None),
    PoolComparison("frag4-pba", "pba", "blind", "splits_2m", None, 41, 38, 45, 50, 44, 58, 9),
]


@pytest.fixture
def connection(tmp_path):
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        connection.execute(
            """INSERT INTO strategy BY NAME SELECT unnest(['pba', 'freetype', 'oracle']) AS strategy, '' AS title,
               '' AS source, '{}' AS parameters, 'pool' AS family, '#000000' AS colour, 'solid' AS line, 'o' AS marker"""
        )
        yield connection


def test_without_a_comparison_there_is_nothing_to_show(connection):
    assert ask(connection, "real_kernel").rows == ()


def test_who_ran_in_a_kernel_and_who_did_not(connection):
    keep(connection, ROWS)
    assert ask(connection, "real_kernel").rows == (
        ("pba", 1, 2, 1, None),
        ("freetype", None, None, None, "not validated"),
    )


def test_a_row_for_each_quantity_worst_first(connection):
    keep(connection, ROWS)
    keep(connection, ROWS)  # replaces
    worst, other = ask(connection, "real_kernel_worst").records()
    assert (worst["quantity"], worst["kernel"], worst["exact"], worst["exact_holds"]) == ("splits_2m", 41, 52, False)
    assert (worst["ordinary"], worst["blind_kernel_low"], worst["blind_kernel_high"]) == (60, 38, 45)
    assert (worst["blind"], worst["blind_allowed"], worst["blind_holds"]) == (50, 9, True)
    assert (other["quantity"], other["exact_holds"], other["blind"]) == ("refills_got", True, None)
