"""What `replay contention` prints and refuses."""

import json

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from replay.contention import grid


def test_the_command_says_from_how_many_cpus_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grid, "CPUS", (2, 8))
    monkeypatch.setattr(grid, "CHANGES_NS", (1000, 100_000))
    path = tmp_path / "w.duckdb"
    with open_warehouse(path, write=True) as connection:
        connection.execute(
            """INSERT INTO capture BY NAME SELECT 'id' AS capture_id, 'name' AS name, '' AS source, '' AS sha256,
               'ftrace' AS format, 'x86_64' AS arch, 4096 AS page_size, 4 AS cpus, 'emulated' AS timing, 0 AS first_ns,
               9 AS last_ns, 9 AS events, 0 AS lost_events, true AS has_stacks, '' AS code_version"""
        )
    assert run(["replay", "contention", "--db", str(path), "--quiet", "--json", "--rate", "50000"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(grid.VARIANTS) * len(grid.FREE_ORDERS)
    pba = next(row for row in rows if row["variant"] == "pba" and row["refills_of"] == "four pages")
    assert (pba["cpus_at_1_us"], pba["cpus_at_100_us"]) == (8, 2)
    assert {row["variant"] for row in rows} == {
        "pba", "reserve-block", "reserve-block, refills at once",
        "reserve-block-percpu, four pages each", "reserve-block-percpu, a block each",
    }  # fmt: skip
    assert run(["replay", "contention", "--db", str(path), "--capture", "other"]) == 2
    assert run(["replay", "contention", "--db", str(tmp_path / "none.duckdb")]) == 2
