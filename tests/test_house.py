"""The house itself: which way imports run, what is documented, what a wheel holds, what stays out of the tree."""

import ast
import signal
import subprocess
import sys
import tomllib
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import duckdb
import pytest
import typer

from ptpool import __version__
from ptpool.cache import cache_folder
from ptpool.cli import app, run
from ptpool.manual import commands
from ptpool.provenance import identity, source_hash
from ptpool.warehouse import SCHEMA_VERSION, create_schema, open_warehouse, transaction

ROOT = Path(__file__).parents[1]
STAGES = ("ingest", "replay", "reports")
SOURCES = [path for stage in ("ptpool", *STAGES) for path in sorted((ROOT / stage).rglob("*.py"))]


def imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_stages_import_the_spine_and_never_each_other(path):
    here = path.relative_to(ROOT).parts[0]
    stages = {name.partition(".")[0] for name in imported(path)} & set(STAGES) - {here}
    assert not stages or path == ROOT / "ptpool" / "cli.py"


def test_imports_run_one_way():
    name_of = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES}
    needs = {}
    for path, name in name_of.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        within = {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
        needs[name] = {*imported(path), *within} & set(name_of.values())
    TopologicalSorter(needs).prepare()  # raises CycleError, with the circle


FLOORS = {
    "replay": (
        "kernel",
        "contract profiles",
        "strategies demand",
        "start",
        "machine",
        "runs",
        "risk sweep validate check contention calibrate",
        "cli",
    ),
    "ingest": (
        "source trace spans quality classify gfp",
        "merge snapshots ownership",
        "formats calls",
        "bundle",
        "load recorder",
        "importer",
        "fleet",
        "cli",
    ),
    "reports": (
        "questions formats",
        "case",
        "style tables section compare ranking",
        "answers summary compare_text render",
        "sections",
        "contents",
        "page",
        "index mail html",
        "build",
        "cli",
    ),
}
"""The wings of each stage, from the ground up: a wing imports only wings below it."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_wings_import_only_wings_below_them(path):
    stage, *rest = path.relative_to(ROOT).with_suffix("").parts
    if stage not in FLOORS or rest == ["__init__"]:
        return
    floor_of = {wing: floor for floor, wings in enumerate(FLOORS[stage]) for wing in wings.split()}
    here, tree = rest[0], ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == stage:
            names = node.module.split(".")[1:] or [alias.name for alias in node.names]
            assert names[0] == here or floor_of[names[0]] < floor_of[here], node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_needs_a_map(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450


def test_numba_is_reached_through_one_door():
    users = {path for path in SOURCES for name in imported(path) if name.partition(".")[0] == "numba"}
    assert users <= {
        ROOT / "ptpool" / "compiled.py",
        ROOT / "ingest" / "spans.py",
    }  # spans.py: intrinsics


def test_help_is_light():
    heavy = "{'numba', 'polars', 'duckdb', 'matplotlib', 'pandas', 'pyarrow', 'numpy'}"
    code = f"import sys, ptpool.cli; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_an_import_is_without_pandas():
    code = "import sys, ingest.importer, pyarrow; pyarrow.array([1]); print('pandas' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize("path", [path for path, _ in commands(typer.main.get_command(app), "ptpool")])
def test_every_command_has_help_with_an_example(path, capsys):
    assert run([*path.split()[1:], "--help"]) == 0
    assert f"Example: {path}" in " ".join(capsys.readouterr().out.split())


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ptpool {__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__


def test_everything_in_the_warehouse_has_a_comment(tmp_path):
    with open_warehouse(tmp_path / "new.duckdb", write=True) as connection:
        bare = connection.execute("""
            SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal
            UNION ALL SELECT table_name, NULL FROM duckdb_tables() WHERE comment IS NULL AND NOT internal
            UNION ALL SELECT view_name, NULL FROM duckdb_views() WHERE comment IS NULL AND NOT internal""").fetchall()
    assert bare == []


def test_the_contracts_tables_and_metrics_are_there(tmp_path):
    tables = {
        "capture", "page_event", "stack", "import_stat", "free_blocks", "snapshot_value", "strategy", "run", "run_timing",
        "run_metric", "run_order", "timeline", "split", "direct_map", "incident", "latency", "risk", "validation",
        "published_measurement", "strategy_summary", "ptp_lifetime", "data_quality", "provenance",
    }  # fmt: skip
    with open_warehouse(tmp_path / "new.duckdb", write=True) as connection:
        there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        there |= {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
        summary = {column[0] for column in connection.execute("FROM strategy_summary").description}
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    assert tables <= there
    assert {"block_failures", "huge_blocks_free_delta_vs_unprotected", "mapping_cost_pct_median", "refills"} <= summary
    assert version == (str(SCHEMA_VERSION),)


def test_a_new_warehouse_is_what_the_schema_says(tmp_path):
    """It is copied from an empty one."""
    catalog = (
        "FROM (SELECT table_name, column_name, data_type, column_default, is_nullable, comment FROM duckdb_columns() "
        "WHERE NOT internal) ORDER BY ALL",
        "FROM (SELECT function_name, parameters, comment FROM duckdb_functions() WHERE NOT internal) ORDER BY ALL",
        "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
        "SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal ORDER BY ALL",
        "FROM meta",
        "FROM metric_glossary",
        "FROM published_source",
        "FROM published_measurement",
    )
    with duckdb.connect() as made, open_warehouse(tmp_path / "new's.duckdb", write=True) as copied:
        create_schema(made)
        for query in catalog:
            assert copied.execute(query).fetchall() == made.execute(query).fetchall(), query


def test_a_damaged_copy_of_the_schema_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("ptpool.warehouse.cache_folder", lambda _: str(tmp_path))
    (tmp_path / "empty.duckdb").write_bytes(b"no warehouse")
    with open_warehouse(tmp_path / "new.duckdb", write=True) as connection:
        assert connection.execute("SELECT count(*) FROM capture").fetchall() == [(0,)]


def test_a_warehouse_that_nothing_was_written_to_is_not_left_behind(tmp_path):
    path = tmp_path / "new.duckdb"
    with pytest.raises(ZeroDivisionError), open_warehouse(path, write=True):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_was_committed_stays_when_something_fails_afterwards(tmp_path):
    path = tmp_path / "new.duckdb"
    with pytest.raises(BrokenPipeError), open_warehouse(path, write=True) as connection:
        with transaction(connection):
            connection.execute(
                "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'n' AS name, 's' AS source, 'h' AS sha256, "
                "'ftrace' AS format, 4096 AS page_size, 1 AS cpus, 'unknown' AS timing, 0 AS first_ns, 0 AS last_ns, "
                "0 AS events, 0 AS lost_events, false AS has_stacks, 'v' AS code_version"
            )
        raise BrokenPipeError
    with open_warehouse(path) as connection:
        assert connection.execute("SELECT name FROM capture").fetchall() == [("n",)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], "No such command"),
        (["replay", "bogus"], "No such command"),
        (["sql", "--bogus"], "No such option"),
        (["sql"], "needs a query"),
        (["sql", "FROM capture", "--db", "missing.duckdb"], "no such warehouse"),
        (["replay", "run", "--db", "missing.duckdb"], "no such warehouse"),
        (["replay", "run", "--strategy", "nope"], "no strategy named nope"),
        (["replay", "run", "--set", "pba.nope=1"], "has no parameter nope"),
        (["replay", "run", "--set", "pba.reserve=many"], "not a value"),
        (["replay", "run", "--set", "reserve"], "STRATEGY.PARAM=VALUE"),
        (["replay", "run", "--strategy", "pba", "--set", "reserve-block.reserve=1"], "not among the strategies"),
        (["replay", "describe", "nope"], "no strategy named nope"),
        (["report", "build", "--db", "missing.duckdb"], "no such warehouse"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refusals_are_short_plain_and_exit_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err.splitlines()) <= 3
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_identity_does_not_depend_on_the_order_of_its_parts():
    assert identity(a=1, b={"x": [1, 2], "y": None}) == identity(b={"y": None, "x": [1, 2]}, a=1)
    assert identity(a=1) != identity(a="1")


def test_the_compiled_cache_is_keyed_by_the_sources(tmp_path, monkeypatch):
    house = tmp_path / "house"
    for package in ("ptpool", "replay"):
        (house / package).mkdir(parents=True)
        (house / package / "a.py").write_text("A = 1\n", encoding="utf-8")
    monkeypatch.setattr("ptpool.provenance._HOUSE", house)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = []
    for text in ("A = 1\n", "A = 2\n"):
        (house / "ptpool" / "a.py").write_text(text, encoding="utf-8")
        source_hash.cache_clear()
        cache_folder.cache_clear()
        folders.append(cache_folder("replay"))
    source_hash.cache_clear()
    cache_folder.cache_clear()
    assert folders[0] != folders[1]


@pytest.mark.slow
def test_the_wheel_holds_the_code_and_its_data_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"ptpool", *STAGES}
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "ptpool", *STAGES], check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) <= names


def test_no_registry_and_no_machine_is_named():
    hosts = ["pypi" + ".org", "python" + "hosted", "registry.npm" + "js", "deb.debian" + ".org"]
    words = "|".join([*(host.replace(".", r"\.") for host in hosts), r"(^|[^A-Za-z0-9_.])/(work|farm|root)/"])
    found = subprocess.run(
        ["git", "-C", str(ROOT), "grep", "-nIE", words, "--", ".", ":!tests/test_house.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""


def test_run_timing_can_be_read_without_a_time_zone_library(empty_warehouse):
    with open_warehouse(empty_warehouse, write=True) as connection:
        connection.execute("INSERT INTO run_timing VALUES ('r', TIMESTAMP '2026-01-01', 1, 1)")
    assert run(["sql", "FROM run_timing", "--db", str(empty_warehouse)]) == 0


def spoken(process):
    """Exit status and standard error of a process, which is not left behind."""
    with process:
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, error


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_one_line(empty_warehouse):
    query = "FROM range(100000000000) WHERE range < 30000 OR range % 3 = 5"  # rows at once, then none for minutes
    command = [sys.executable, "-m", "ptpool", "sql", query, "--format", "csv", "--db", str(empty_warehouse)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "range\n"
    process.send_signal(signal.SIGINT)
    assert spoken(process) == (130, "ptpool: interrupted; nothing half-written was kept\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_under_the_output_is_one_line(empty_warehouse):
    command = [sys.executable, "-m", "ptpool", "sql", "FROM metric_glossary", "--db", str(empty_warehouse)]
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True)
        status, error = spoken(process)
    assert status == 2
    assert error == "ptpool: the output cannot be written: no space left on the device\n"


def test_a_reader_that_stops_early_is_not_a_failure(empty_warehouse):
    command = [sys.executable, "-m", "ptpool", "sql", "SELECT repeat('x', 100) FROM range(100000)", "--format", "csv"]
    process = subprocess.Popen(
        [*command, "--db", str(empty_warehouse)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() != ""
    process.stdout.close()
    with process:
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
