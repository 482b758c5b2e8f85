"""Rows of the view page_event into the tables that it is made of: event, task and call."""

from collections.abc import Sequence

import duckdb

_CALL = "kind, page_order, migratetype, gfp_flags, gfp_text, stack_id, consumer, level, role"
_KEYS = {"task": "capture_id, pid, comm", "call": f"capture_id, {_CALL}"}


def next_number(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """The number of the next task or call: one more than the last of table `task` or `call`."""
    ((number,),) = connection.execute(f"SELECT coalesce(max({table}_id) + 1, 0) FROM {table}").fetchall()
    return int(number)


def insert_page_events(connection: duckdb.DuckDBPyConnection, rows: str, values: Sequence[object] = ()) -> None:
    """Insert rows of page_event in order of their `seq`.

    Args:
        connection: a warehouse open for writing.
        rows: a query with columns of page_event; those it lacks are NULL.
        values: its parameters.
    """
    given = f"given AS ((FROM page_event LIMIT 0) UNION ALL BY NAME ({rows}))"
    joins = ""
    for table, key in _KEYS.items():
        number = f"{table}_id"
        first = next_number(connection, table)
        connection.execute(
            f"""INSERT INTO {table} BY NAME WITH {given}
                SELECT {key}, {first} - 1 + row_number() OVER (ORDER BY min(seq)) AS {number}
                FROM given GROUP BY {key}""",
            values,
        )
        same = " AND ".join(f"{table}.{column} IS NOT DISTINCT FROM given.{column}" for column in key.split(", "))
        joins += f" JOIN {table} ON {number} >= {first} AND {same}"
    connection.execute(
        f"""INSERT INTO event BY NAME WITH {given}
            SELECT seq, ts_ns, cpu, pfn, task_id, call_id FROM given{joins} ORDER BY seq""",
        values,
    )
