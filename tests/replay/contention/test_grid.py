"""The grid of simulations, and which captures share one."""

from ptpool.page_events import insert_page_events
from ptpool.warehouse import open_warehouse
from replay.contention import grid
from replay.profiles.costs import built_in


def test_captures_of_the_same_demand_share_a_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "CPUS", (2, 8))
    monkeypatch.setattr(grid, "CHANGES_NS", (1000,))
    told = []
    with open_warehouse(tmp_path / "w.duckdb", write=True) as connection:
        captures = [
            {"capture_id": name, "timing": timing, "arch": arch}
            for name, timing, arch in (("a", "emulated", "x86_64"), ("b", "unknown", None), ("c", "real", "x86_64"))
        ]
        for ts in (0, 1_000_000, 9_999_999, 10_000_000):
            insert_page_events(
                connection,
                """SELECT 'c' AS capture_id, 0 AS seq, ? AS ts_ns, 0 AS cpu, 1 AS pid,
                   'alloc' AS kind, 0 AS page_order, 'pte' AS level""",
                [ts],
            )
        for _ in range(2):
            grid.contention(connection, captures, built_in(), None, told.append)
        rows = connection.execute(
            "SELECT capture_id, any_value(tables_per_s), count(*), max(lock_wait_share) FROM contention GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert [row[:3] for row in rows] == [("a", 515e9 / 12e6, 20), ("b", 515e9 / 12e6, 20), ("c", 300.0, 20)]
    assert len(told) == 2 * 2 * 20
    assert rows[2][3] < rows[0][3] < 1
