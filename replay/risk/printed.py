"""What `ptpool replay risk` prints: view risk_summary of one capture and machine."""

from typing import Any

import duckdb

_ROWS = """
SELECT round(table_share, 2) AS table_share, fragmentation, holes, reclaim, label AS strategy,
       round(headroom, 2) AS headroom, or_more, round(low, 2) AS low,
       round(high, 2) AS high, round(times_unprotected, 2) AS times_unprotected, fails_sooner, first_failure,
       round(excess_stalls_per_million)::BIGINT AS excess_stalls_per_million, draws AS seeds, checked, contradicted
FROM risk_summary WHERE capture_id = $capture AND machine = $machine
ORDER BY table_share, unusable_index_2, fragmentation, holes, reclaim, risk_summary.headroom DESC, label
"""

_SENTENCES = """
SELECT format('{}, reclaim {}: headroom that the same pool needs, over that with refills of order 0: {}.',
              memory_in_words(machine, table_share, fragmentation, holes), reclaim,
              string_agg(printf('%s%.2f (%.2f to %.2f) with order %d',
                  if(times_or_more, '> ', ''), times_order_0, times_least, times_most, refill_order), ', '
                  ORDER BY refill_order))
FROM risk_summary WHERE capture_id = $capture AND machine = $machine AND times_order_0 IS NOT NULL
GROUP BY machine, table_share, fragmentation, holes, reclaim
UNION ALL
SELECT format('{}: fail sooner than unprotected in every variant: {}.', fragmentation,
              coalesce(string_agg(DISTINCT label, ', ' ORDER BY label) FILTER (fails_sooner_in_all), 'none'))
FROM risk_summary WHERE capture_id = $capture AND machine = $machine AND fails_sooner_in_all IS NOT NULL
GROUP BY fragmentation
ORDER BY ALL
"""


def risk_rows(
    connection: duckdb.DuckDBPyConnection, capture_id: str, machine: str
) -> tuple[list[str], list[tuple[Any, ...]], list[str]]:
    """Columns and rows, the strategies that need most headroom first; and in sentences what holds over several rows."""
    about = {"capture": capture_id, "machine": machine}
    cursor = connection.execute(_ROWS, about)
    columns, rows = [name for name, *_ in cursor.description], cursor.fetchall()
    return columns, rows, [sentence for (sentence,) in connection.execute(_SENTENCES, about).fetchall()]
