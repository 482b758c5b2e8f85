"""``ptpool sql``: what it prints, how much of it, and that it reads the warehouse and nothing else."""

import io
import json
import subprocess
import sys

import duckdb
import pytest

from ptpool.cli import run
from ptpool.warehouse import open_warehouse


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT nope FROM capture", "nope"),
        ("FROM captures", "capture"),
        ("SELEC 1", "syntax error"),
        ("CREATE TABLE t AS SELECT 1", "read-only"),
        ("SELECT error('at the second block') FROM range(20000) t(i) WHERE i = 15000", "at the second block"),
    ],
)
def test_errors_name_what_is_wrong(query, words, capsys, empty_warehouse):
    assert run(["sql", query, "--db", str(empty_warehouse)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) <= 3


def test_sql_prints_valid_json_with_unique_names(empty_warehouse, capsys):
    query = "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS n, now() IS NULL AS t"
    assert run(["sql", query, "--json", "--db", str(empty_warehouse)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"a": 1, "a:1": 2, "n": None, "t": False}]


def test_sql_reads_files_and_standard_input(empty_warehouse, tmp_path, capsys, monkeypatch):
    file = tmp_path / "query.sql"
    file.write_text("SELECT 41 + 1 AS answer", encoding="utf-8")
    for arguments in (["-f", str(file)], ["-"], ["-f", "-"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 42 AS answer"))
        assert run(["sql", *arguments, "--format", "csv", "--db", str(empty_warehouse)]) == 0
        assert capsys.readouterr().out == "answer\n42\n"


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_query_is_refused(query, empty_warehouse, capsys):
    assert run(["sql", query, "--db", str(empty_warehouse)]) == 2
    assert "empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM capture",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'stolen.csv'",
        "EXPORT DATABASE 'stolen'",
        "FROM read_text('secret.txt')",
        "FROM 'secret.txt'",
        "SELECT 1; FROM glob('*')",
        "ATTACH 'stolen.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "PREPARE p AS COPY (SELECT 1) TO 'stolen.csv'; EXECUTE p",
    ],
)
def test_it_only_reads_and_only_the_warehouse(query, empty_warehouse, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("my secret")
    there = sorted(tmp_path.iterdir())
    assert run(["sql", query, "--db", str(empty_warehouse)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert len(error.splitlines()) <= 3
    assert "Traceback" not in error
    assert "my secret" not in error
    assert sorted(tmp_path.iterdir()) == there


def test_a_folder_can_be_read_and_nothing_beside_it(empty_warehouse, tmp_path, capsys):
    (tmp_path / "open").mkdir()
    for file in (tmp_path / "open/a.csv", tmp_path / "b.csv"):
        file.write_text("n\n7\n")
    command = ["sql", "--db", str(empty_warehouse), "--format", "csv", "--read", str(tmp_path / "open")]
    assert run([*command, f"FROM read_csv('{tmp_path}/open/a.csv')"]) == 0
    assert capsys.readouterr().out == "n\n7\n"
    assert run([*command, f"FROM read_csv('{tmp_path}/b.csv')"]) == 2
    assert run([*command, f"FROM read_csv('{tmp_path}/open/../b.csv')"]) == 2
    assert run([*command, f"COPY (SELECT 1) TO '{tmp_path}/open/c.csv'"]) == 2
    assert [path.name for path in (tmp_path / "open").iterdir()] == ["a.csv"]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_rows_are_printed_as_they_come(form, empty_warehouse):
    query = "SELECT range AS n FROM range(1000000000000)"
    command = [sys.executable, "-m", "ptpool", "sql", query, "--format", form, "--db", str(empty_warehouse)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().strip() in (b"n", b"[")
    process.stdout.close()
    with process:
        assert process.wait(timeout=60) == 0


def test_json_and_csv_have_every_row(empty_warehouse, capsys):
    query = "SELECT range AS n, 'x' || range AS t FROM range(25000)"
    for form in ("json", "csv"):
        assert run(["sql", query, "--format", form, "--db", str(empty_warehouse)]) == 0
        out = capsys.readouterr().out
        rows = [(r["n"], r["t"]) for r in json.loads(out)] if form == "json" else out.splitlines()[1:]
        assert len(rows) == 25000
        assert rows[24999] == ((24999, "x24999") if form == "json" else "24999,x24999")
    assert run(["sql", "SELECT 1 LIMIT 0", "--json", "--db", str(empty_warehouse)]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_table_shows_the_first_rows_and_says_how_many_there_are(form, empty_warehouse, capsys):
    assert run(["sql", "FROM range(25000)", "--format", form, "--db", str(empty_warehouse)]) == 0
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 1002
    assert error == "the first 1,000 of 25,000 rows; --format csv prints all of them\n"


def test_control_characters_are_not_printed_raw(empty_warehouse, capsys):
    assert run(["sql", "SELECT chr(27) || '[2J' AS a", "--db", str(empty_warehouse)]) == 0
    assert run(["sql", 'FROM "\x1b[2J"', "--db", str(empty_warehouse)]) == 2
    out, error = capsys.readouterr()
    assert "\x1b" not in out + error
    assert "\\x1b[2J" in out
    assert "\\x1b[2J" in error


@pytest.mark.parametrize(
    "command",
    [
        ["sql", "FROM strategy_summary"],
        ["sql", "FROM capture"],
        ["ingest", "list"],
        ["ingest", "export", "out"],
        ["ingest", "remove", "x"],
        ["report", "build", "--out", "out"],
        ["report", "text"],
        ["replay", "run"],
        ["replay", "sweep", "reserve-size", "--dry-run"],
        ["report", "compare", "new.duckdb", "new.duckdb"],
    ],
    ids=" ".join,
)
def test_views_of_somebody_else_read_no_files(command, empty_warehouse, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.txt"
    secret.write_text("my secret")
    with duckdb.connect(str(empty_warehouse)) as connection:
        for table, column in (("strategy_summary", "capture"), ("capture", "name")):
            columns = connection.execute(f"DESCRIBE {table}").fetchall()
            others = "".join(f", NULL::{kind} AS {name}" for name, kind, *_ in columns if name != column)
            kind = "VIEW" if table == "strategy_summary" else "TABLE"
            connection.execute(f"DROP {kind} {table} CASCADE" if kind == "TABLE" else f"DROP VIEW {table}")
            connection.execute(f"CREATE VIEW {table} AS SELECT content AS {column}{others} FROM read_text('{secret}')")
    where = [] if command[1] == "compare" else ["--db", str(empty_warehouse)]
    assert run([*command, *where]) == 2
    out, error = capsys.readouterr()
    assert "my secret" not in out + error
    assert len(error.splitlines()) <= 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [["ingest", "list"], ["sql", "FROM metric_glossary"], ["ingest", "remove", "x"], ["report", "text"]],
    ids=" ".join,
)
def test_a_damaged_warehouse_is_one_line(command, empty_warehouse, capsys):
    """A byte of every block is changed, one block at a time, behind the headers of the file."""
    whole, said = empty_warehouse.read_bytes(), set()
    for at in range(3 * 4096, len(whole), 1 << 18):
        empty_warehouse.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        status = run([*command, "--db", str(empty_warehouse)])
        error = capsys.readouterr().err
        if "damaged" in error:
            assert status == 2
            assert len(error.splitlines()) <= 3
            assert "ptpool ingest trace PATH" in error
            said.add(at)
    assert said


def test_names_that_are_not_utf_8_are_refused_in_a_line(empty_warehouse, tmp_path, capsys):
    name = str(tmp_path / "caf\udce9")
    for arguments in (
        ["ingest", "list", "--db", name],
        ["sql", "SELECT 1", "--read", name, "--db", str(empty_warehouse)],
        ["ingest", "export", name, "--db", str(empty_warehouse)],
        ["ingest", "trace", name, "--db", str(empty_warehouse)],
    ):
        assert run(arguments) == 2
        error = capsys.readouterr().err
        assert "caf\\udce9" in error
        assert len(error.splitlines()) <= 3


def test_tables_lists_those_of_a_warehouse(empty_warehouse, tmp_path, capsys):
    with open_warehouse(empty_warehouse, write=True) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER); COMMENT ON TABLE mine IS 'my own'")
    assert run(["tables", "--db", str(empty_warehouse)]) == 0
    assert "my own" in capsys.readouterr().out
    assert run(["tables", "mine", "--db", str(empty_warehouse)]) == 0
    assert "INTEGER" in capsys.readouterr().out
    assert run(["tables", "mine"]) == 2
    assert run(["tables", "--db", str(tmp_path / "none.duckdb")]) == 2
