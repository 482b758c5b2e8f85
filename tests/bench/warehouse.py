"""The warehouse itself: its bytes, and queries, beside one wide table of the same rows."""

from pathlib import Path

import duckdb
import trace_dat
from measure import Row, import_into, median_s

from ptpool.warehouse import open_warehouse

TITLE = "Warehouse: tables event, task and call under the view page_event, against one table of its columns"
COLUMNS = ["what", "page_event", "one table", "page_event / one table"]
QUERIES = {
    "kind, consumer and second": "SELECT kind, consumer, ts_ns // 1000000000 AS s, count(*) FROM {} WHERE capture_id = $id GROUP BY ALL",
    "stack of each allocation": "SELECT stack_id, count(*) FROM {} WHERE capture_id = $id AND kind = 'alloc' GROUP BY ALL",
    "task": "SELECT comm, count(*) FROM {} WHERE capture_id = $id GROUP BY ALL",
}


def bench(folder: Path) -> list[Row]:
    """The trace.dat of five million events."""
    trace, narrow, wide, empty = (
        folder / name for name in ("trace.dat", "narrow.duckdb", "wide.duckdb", "empty.duckdb")
    )
    trace_dat.repeat(trace_dat.EXCERPT, trace, trace_dat.TIMES)
    import_into(narrow, trace)
    for path in (wide, empty):
        with open_warehouse(path, write=True):
            pass
    with duckdb.connect(str(wide)) as connection:
        connection.execute(f"ATTACH '{narrow}' AS narrow (READ_ONLY)")
        connection.execute("CREATE TABLE wide_event AS FROM narrow.page_event ORDER BY seq")
        ((events,),) = connection.execute("SELECT count(*) FROM wide_event").fetchall()
    each = [(path.stat().st_size - empty.stat().st_size) / events for path in (narrow, wide)]
    rows: list[Row] = [("bytes per event", *each, each[0] / each[1])]
    for what, query in QUERIES.items():
        spent = [spent_on(narrow, "page_event", query), spent_on(wide, "wide_event", query)]
        rows.append((f"count by {what}, s", *spent, spent[0] / spent[1]))
    return rows


def spent_on(path: Path, table: str, query: str) -> float:
    """Seconds that a query takes."""
    with duckdb.connect(str(path), read_only=True) as connection:
        ((capture,),) = connection.execute(f"SELECT DISTINCT capture_id FROM {table}").fetchall()
        given = {"id": capture}
        return median_s(lambda: connection.execute(query.format(table), given).fetchall(), 9, warm=True)
