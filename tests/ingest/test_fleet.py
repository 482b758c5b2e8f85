"""Captures of many hosts: Parquet out of their warehouses and into one, and which strategy wins on how many."""

import shutil

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_sweep import rows, sweep_of, tiny_trace

from ptpool.cli import run
from ptpool.warehouse import IMPORTED_TABLES

pytestmark = pytest.mark.slow

HOSTS = ("web1", "web2")
RESULTS = ("run", "run_metric", "run_order")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two hosts, each with a capture called boot; what they exported lies in fleet/host=HOST/capture=boot."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "grid.toml").write_text('[[grid]]\nstrategy = ["pba", "pte-mapped"]\nmachine = ["recorded", "64M"]')
    for nth, host in enumerate(HOSTS):
        (folder / "boot.txt").write_text(tiny_trace(0x100 + 0x80 * nth))
        db = ["--quiet", "--db", str(folder / f"{host}.duckdb")]
        assert run(["ingest", "trace", str(folder / "boot.txt"), *db]) == 0
        assert run(["ingest", "export", str(folder / "fleet" / f"host={host}"), *db]) == 0
    return folder


def imported(folder, path):
    return run(["ingest", "fleet", str(folder), "--quiet", "--db", str(path)])


def test_what_hosts_export_replays_as_on_the_hosts(fleet, tmp_path):
    one = tmp_path / "one.duckdb"
    assert imported(fleet / "fleet", one) == 0
    assert rows(one, "SELECT name FROM capture ORDER BY ALL") == [("web1-boot",), ("web2-boot",)]
    assert run(sweep_of(fleet / "one.duckdb", one)) == 0
    for host in HOSTS:
        db = fleet / f"{host}.duckdb"
        ((capture_id,),) = rows(db, "SELECT capture_id FROM capture")
        for table in IMPORTED_TABLES:
            columns = "* EXCLUDE (name)" if table == "capture" else "*"
            own = rows(db, f"SELECT {columns} FROM {table}")
            assert rows(one, f"SELECT {columns} FROM {table} WHERE capture_id = '{capture_id}'") == own
        assert run(sweep_of(fleet / "one.duckdb", db)) == 0
        of_host = f"SELECT run_id FROM run WHERE capture_id = '{capture_id}'"
        for table in RESULTS:
            own = rows(db, f"FROM {table} ORDER BY ALL")
            assert rows(one, f"FROM {table} WHERE run_id IN ({of_host}) ORDER BY ALL") == own
    wins = rows(
        one, "SELECT strategy, wins, machines FROM fleet_wins WHERE sweep = 'grid' AND metric = 'conversion_ns'"
    )
    assert sorted(wins) == [("pba", 4, 4), ("pte-mapped", 0, 4)]


def test_captures_that_are_there_stay_and_others_of_the_name_are_replaced_on_demand(fleet, tmp_path, capsys):
    one = tmp_path / "one.duckdb"
    assert imported(fleet / "fleet" / "host=web1", one) == 0
    assert imported(fleet / "fleet" / "host=web1" / "capture=boot", one) == 0
    assert imported(fleet / "fleet" / "host=web2", one) == 2
    assert "another capture has the name boot" in capsys.readouterr().err
    assert run(["ingest", "fleet", str(fleet / "fleet" / "host=web2"), "--replace", "--quiet", "--db", str(one)]) == 0
    assert rows(one, "SELECT count(*), min(pfn) FROM page_event") == [
        (rows(fleet / "web2.duckdb", "SELECT count(*) FROM page_event")[0][0], 0x180)
    ]


def test_an_export_that_is_there_is_written_again_on_demand(fleet, capsys):
    target, db = fleet / "fleet" / "host=web1", ["--db", str(fleet / "web1.duckdb"), "--quiet"]
    assert run(["ingest", "export", str(target), *db]) == 2
    assert capsys.readouterr().err.startswith(f"ptpool: {target / 'capture=boot'}: it exists already\n")
    assert run(["ingest", "export", str(target), "--replace", *db]) == 0
    assert sorted(path.name for path in target.glob("*/*")) == sorted(f"{table}.parquet" for table in IMPORTED_TABLES)


def changed(path, change):
    pq.write_table(change(pq.read_table(path)), path)


def first(column, value):
    """The value in the first row."""

    def change(table):
        place = table.schema.get_field_index(column)
        values = table.column(column).to_pylist()
        return table.set_column(place, column, pa.array([value, *values[1:]], table.schema.field(column).type))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda boot: (boot / "stack.parquet").unlink(), "stack.parquet: no such file"),
        (lambda boot: (boot / "stack.parquet").write_bytes(b"PAR1"), "stack.parquet: cannot be read: "),
        (lambda boot: (boot / "page_event.parquet").write_bytes((boot / "page_event.parquet").read_bytes()[:-99]), "page_event.parquet: cannot be read: "),
        (lambda boot: changed(boot / "page_event.parquet", lambda t: t.drop_columns("pfn")), "page_event.parquet: column pfn is missing"),
        (lambda boot: changed(boot / "stack.parquet", lambda t: t.append_column("more", t.column("stack_id"))), "stack.parquet: column more is INTEGER, not a column of it"),
        (lambda boot: changed(boot / "stack.parquet", lambda t: t.set_column(1, "stack_id", t.column("stack_id").cast(pa.int64()))), "stack.parquet: column stack_id is BIGINT, not INTEGER"),
        (lambda boot: changed(boot / "page_event.parquet", lambda t: t.slice(0, 10)), "page_event.parquet: 10 events, but capture.parquet says "),
        (lambda boot: changed(boot / "page_event.parquet", first("pfn", -5)), "page_event.parquet: 1 events have impossible"),
        (lambda boot: changed(boot / "page_event.parquet", first("kind", "loan")), "page_event.parquet: cannot be read: "),
        (lambda boot: changed(boot / "page_event.parquet", first("cpu", None)), "page_event.parquet: cannot be read: "),
        (lambda boot: changed(boot / "stack.parquet", first("capture_id", "another")), "stack.parquet: 1 of its rows belong to another"),
        (lambda boot: changed(boot / "capture.parquet", lambda t: t.slice(0, 0)), "capture.parquet: 0 captures instead of one"),
        (lambda boot: boot.rename(boot.with_name("capture=shoe")), "holds the capture boot, but its folder is capture=shoe"),
        (lambda boot: shutil.copytree(boot, boot.parent / "host=db" / "capture=boot"), "host is both web1 and db"),
        (lambda boot: shutil.copytree(boot, boot.parent.with_name("host=db") / "capture=boot"), "the same capture as "),
        (lambda boot: shutil.copytree(boot.parent.with_name("host=web2"), boot.parent.with_name("name=web1")), "its name is web1-boot, like that of "),
        (lambda boot: boot.parent.rename(boot.parent.with_name("host=a b")), "cannot be the name of a capture"),
        (shutil.rmtree, "it holds no captures"),
    ],
)  # fmt: skip
def test_what_is_not_whole_or_contradicts_itself_is_refused(fleet, tmp_path, capsys, damage, message):
    folder = tmp_path / "fleet"
    shutil.copytree(fleet / "fleet" / "host=web1", folder / "host=web1")
    if "web1-boot" in message:
        shutil.copytree(fleet / "fleet" / "host=web2", folder / "host=web2")
    damage(folder / "host=web1" / "capture=boot")
    assert imported(folder, tmp_path / "one.duckdb") == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 3
    assert not (tmp_path / "one.duckdb").exists()


def test_every_table_of_a_capture_is_exported(fleet):
    """Of the tables with a capture's rows, those that replays fill are not."""
    with duckdb.connect(str(fleet / "web1.duckdb"), read_only=True) as connection:
        tables = connection.execute(
            """SELECT table_name FROM duckdb_columns() JOIN duckdb_tables() USING (table_name)
               WHERE column_name = 'capture_id'"""
        ).fetchall()
    computed = {"run", "risk", "risk_threshold", "contention", "validation", "contradiction"}
    of_events = {"task", "call"}  # and event: exported as page_event
    assert {name for (name,) in tables} == computed | of_events | set(IMPORTED_TABLES) - {"page_event"}
