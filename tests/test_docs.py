"""The pages say what is true: links, paths, commands and queries in them work, and everything public is documented."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import polars
import pytest
import typer

from ptpool.cli import app, run
from ptpool.dictionary import dictionary, markdown
from ptpool.manual import commands, manual
from ptpool.warehouse import open_warehouse

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), *sorted((ROOT / "data").glob("*/README*"))]
NAMES_NO_PATHS = ("commands.md", "strategies.md", "tables.md", "CHANGELOG.md")  # generated, or about what is gone


def page_name(page):
    return page.relative_to(ROOT).as_posix()


def headings(text):
    """Anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def fenced(text, language=""):
    """Blocks of a page that are in this language, or in none."""
    blocks = re.findall(r"^```(\w*)\n(.*?)\n```$", text, re.S | re.M)
    return [block for written, block in blocks if written == language]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        assert not anchor or anchor in headings(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in NAMES_NO_PATHS], ids=page_name)
def test_paths_that_a_page_names_exist(page):
    named = r"(?<![\w/.<-])((?:ptpool|ingest|replay|reports|tests|data|docs)/[\w./*-]*\w)"
    paths = set(re.findall(named, page.read_text(encoding="utf-8")))
    assert [path for path in sorted(paths) if not any(ROOT.glob(path))] == []


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    """A capture called server-16g with a little of everything."""
    path = tmp_path_factory.mktemp("docs") / "w.duckdb"
    with open_warehouse(path, write=True) as connection:
        for (column,) in connection.execute(
            "SELECT column_name FROM duckdb_columns() WHERE table_name = 'run' AND NOT is_nullable"
        ).fetchall():  # what a run is identified by grows; the recipes ask for little of it
            connection.execute(f"ALTER TABLE run ALTER COLUMN {column} DROP NOT NULL")
        for statement in (Path(__file__).parent / "data" / "cookbook.sql").read_text(encoding="utf-8").split(";\n"):
            connection.execute(statement)
    return path


@pytest.mark.parametrize(("page", "made"), [("tables.md", markdown), ("commands.md", lambda: manual(app))])
def test_generated_pages_are_current(page, made):
    assert (DOCS / page).read_text(encoding="utf-8").strip() == made().strip(), "make docs"


def test_every_command_option_and_argument_is_documented_and_has_an_example():
    for path, command in commands(typer.main.get_command(app), "ptpool"):
        shown = f"{command.help} {command.epilog}"
        assert f"Example: {path}" in " ".join(shown.split()), path
        offered = [parameter for parameter in command.params if parameter.name != "help" and not parameter.hidden]
        assert [parameter.name for parameter in offered if not parameter.help] == [], path


def test_every_table_view_column_and_macro_is_documented():
    entries = dictionary()
    assert {entry.kind for entry in entries} == {"table", "view", "macro"}
    for entry in entries:
        assert entry.meaning, entry.name
        for name, _, meaning in entry.columns:
            assert meaning, f"{entry.name}.{name}"


def written_commands():
    for page in PAGES:
        for block in fenced(page.read_text(encoding="utf-8")):
            for line in re.findall(r"^(?:sudo \S*/)?(ptpool .*?)(?:\s+#.*)?$", block, re.M):
                yield pytest.param(line, id=f"{page.name}: {line[:50]}")


@pytest.mark.parametrize("line", list(written_commands()))
def test_commands_in_the_docs_exist_with_their_options(line):
    words = shlex.split(line.partition("; ")[0])[1:]
    command = typer.main.get_command(app)
    while getattr(command, "commands", None) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    own = words[: words.index("--")] if "--" in words else words
    assert {word.partition("=")[0] for word in own if word.startswith("--")} <= options, line


COOKBOOK = (DOCS / "cookbook.md").read_text(encoding="utf-8")
RECIPES = re.split(r"^### ", COOKBOOK, flags=re.M)[1:]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.splitlines()[0])
def test_recipes_give_rows(recipe, warehouse, capsys):
    (sql,) = fenced(recipe, "sql")
    assert run(["sql", sql, "--db", str(warehouse), "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 1


@pytest.mark.parametrize("page", ["buddy-reserve.md", "sweeps.md"])
def test_queries_of_other_pages_run(page, warehouse):
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for statements in fenced((DOCS / page).read_text(encoding="utf-8"), "sql"):
            if "fleet/" not in statements and "collected" not in statements:  # those read folders of other machines
                connection.execute(statements)


def test_the_warehouse_is_open_to_pandas_polars_and_parquet(warehouse):
    (code,) = fenced(COOKBOOK, "python")
    names = {}
    exec(code.replace("ptpool.duckdb", str(warehouse)), names)
    assert set(names["summary"]["strategy"]) == {"pba", "reserve-block"}
    assert names["splits"]["leaf"].to_list() == ["2M"]
    command = [sys.executable, "-m", "ptpool", "sql", "FROM strategy_summary", "--format", "parquet"]
    printed = subprocess.run([*command, "--db", str(warehouse)], check=True, capture_output=True).stdout
    assert polars.read_parquet(printed)["capture"].to_list() == ["server-16g"] * 2
    with duckdb.connect(str(warehouse), read_only=True) as connection:  # no ptpool, only DuckDB
        assert connection.sql("FROM metric_of('refills')").fetchall() == [
            ("server-16g", "pba", 5.0, "refills"),
            ("server-16g", "reserve-block", 7.0, "refills"),
        ]


def test_macros_give_what_they_say(warehouse):
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        assert connection.sql("FROM splits_of('server-16g', 'pba')").fetchall() == [
            (1.0, "0x200000", "2M", "split", "refill")
        ]
        assert connection.sql("FROM page_tables_alive('server-16g', steps := 2)").fetchall() == [(1.0, 2), (2.0, 1)]
        differences = connection.sql("FROM compare_strategies('server-16g', 'pba', 'reserve-block')").fetchall()
        assert ("refills", 5.0, 7.0, 2.0, "refills") in differences
        assert all(row[1] != row[2] for row in differences)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tables", "strategy_sumary"], "did you mean strategy_summary? there are:"),
        (["replay", "describe", "pbaa"], "did you mean pba? there are:"),
        (["replay", "rn"], "Did you mean 'run'?"),
    ],
)
def test_names_that_are_nearly_right_are_recognised(arguments, said, capsys):
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_name_without_quotes_is_recognised(warehouse, capsys):
    assert run(["sql", "FROM run_metric WHERE metric = refills", "--db", str(warehouse)]) == 2
    assert "single quotes: 'refills'" in capsys.readouterr().err
    assert run(["sql", "FROM run_metric WHERE metrc = 'refills'", "--db", str(warehouse)]) == 2
    assert '"metric"' in capsys.readouterr().err


def test_tables_are_described_one_by_one_and_all(capsys):
    assert run(["tables", "timeline_of"]) == 0
    assert "One series over time" in capsys.readouterr().out
    assert run(["tables"]) == 0
    assert "strategy_summary" in capsys.readouterr().out
