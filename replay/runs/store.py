"""Writes runs into the warehouse, each whole; it replaces the same run of an older version."""

import json
from collections.abc import Iterable

import duckdb
import pyarrow as pa

from ptpool.provenance import code_version
from ptpool.warehouse import delete_runs, metrics, transaction
from replay.contract.registry import parameters, strategies
from replay.runs.one_run import Timed
from replay.runs.run import Run


def kept_runs(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, float, int]]:
    """Events, wall time in s and number of incidents of every run that is there with all its tables, by run_id."""
    rows = connection.execute(
        """SELECT run_id, round(events_per_s * wall_s)::BIGINT, wall_s, count(kind)
           FROM run JOIN run_timing USING (run_id) LEFT JOIN incident USING (run_id)
           WHERE NOT metrics_only GROUP BY ALL"""
    ).fetchall()
    return {run_id: (events, wall_s, incidents) for run_id, events, wall_s, incidents in rows}


def write_strategies(connection: duckdb.DuckDBPyConnection) -> None:
    """The strategies that there are now; one that is gone stays as long as it has runs."""
    rows = []
    for entry in strategies().values():
        defaults = json.dumps({parameter["name"]: parameter["default"] for parameter in parameters(entry)})
        look = (entry.family, entry.colour, entry.line, entry.marker)
        rows.append((entry.name, entry.title, entry.source, defaults, *look))
    with transaction(connection):
        connection.execute(
            "DELETE FROM strategy WHERE list_contains(?, strategy) OR strategy NOT IN (SELECT strategy FROM run)",
            [list(strategies())],
        )
        connection.executemany("INSERT INTO strategy VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def write_costs(connection: duckdb.DuckDBPyConnection, wanted: Iterable[Run]) -> None:
    """The constants of every cost profile that these runs use."""
    profiles = {run.costs.name: run.costs for run in wanted}
    rows = [
        (name, arch, constant, value.low, value.typical, value.high, value.source)
        for name, profile in profiles.items()
        for arch, constants in profile.constants.items()
        for constant, value in constants.items()
    ]
    with transaction(connection):
        connection.execute("DELETE FROM cost_constant WHERE list_contains(?, costs)", [list(profiles)])
        connection.executemany("INSERT INTO cost_constant VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def write_run(connection: duckdb.DuckDBPyConnection, run: Run, timed: Timed) -> bool:
    """Write one run whole; a run of an older version with the same settings goes. False: its capture is gone."""
    known = "SELECT count(*) FROM capture WHERE capture_id = ?"
    if connection.execute(known, [run.capture["capture_id"]]).fetchall() == [(0,)]:
        return False
    result = timed.result
    row = run.columns | {
        "run_id": run.run_id,
        "is_default": run.is_default,
        "metrics_only": False,
        "code_version": code_version(),
        "assumptions": result.assumptions,
    }
    same = " AND ".join(f"{column} = ?{'::JSON' * (column == 'params')}" for column in run.columns)
    with transaction(connection):
        superseded = connection.execute(f"SELECT run_id FROM run WHERE {same}", list(run.columns.values())).fetchall()
        delete_runs(connection, [run_id for (run_id,) in superseded])
        places = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO run ({', '.join(row)}) VALUES ({places})", list(row.values()))
        units = dict(metrics(connection))
        for name, rows in result.tables.items():
            table = rows.append_column("run_id", pa.array([run.run_id] * rows.num_rows, pa.string()))
            if name == "run_metric":
                table = table.append_column("unit", pa.array([units[m] for m in rows.column("metric").to_pylist()]))
            connection.register("rows_of_run", table)
            connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM rows_of_run")
            connection.unregister("rows_of_run")
        connection.execute(
            "INSERT INTO run_timing VALUES (?, ?, ?, ?)",
            [run.run_id, timed.started_at, timed.wall_s, result.events / max(timed.wall_s, 1e-9)],
        )
    return True
