"""The report as files: every SQL runs and gives its table, two builds are equal, links resolve, nothing half-written."""

import csv
import errno
import fcntl
import html
import io
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from reports.case import load_case
from reports.tables import heading


def pages(report: Path) -> list[Path]:
    return sorted(report.rglob("*.md"))


def content(report: Path) -> dict[str, bytes]:
    return {path.relative_to(report).as_posix(): path.read_bytes() for path in report.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_every_sql_gives_its_csv(report: Path, warehouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = sorted(report.rglob("*.csv"))
    assert [path.with_suffix("").as_posix() for path in found] == [
        path.with_suffix("").as_posix() for path in sorted(report.rglob("*.sql"))
    ]
    for path in found:
        capsys.readouterr()
        sql = path.with_suffix(".sql").read_text()
        assert run(["sql", sql, "--db", str(warehouse), "--format", "csv"]) == 0, path
        assert capsys.readouterr().out == path.read_text(), path


@pytest.mark.slow
def test_every_table_and_figure_has_a_link_to_its_numbers_and_their_sql(report: Path) -> None:
    link = re.compile(r"\[Data\]\(([\w-]+)\.csv\) · \[SQL\]\(\1\.sql\)")
    for page in pages(report):
        text = page.read_text()
        after = re.findall(r"^\|.*\|\n\|[ :|-]+\|\n(?:\|.*\n)*\n(.*)$", text, re.M)
        after += re.findall(r"^\[!\[.*\n\n(.*)$", text, re.M)
        assert len(after) == len(re.findall(r"^\|[ :|-]+\|$|^\[!\[", text, re.M)), page
        assert all(link.search(line) for line in after), page


@pytest.mark.slow
def test_every_table_shows_the_rows_of_its_csv(report: Path) -> None:
    pattern = r"((?:^\|.*\n)+)\n\[Data\]\(([\w-]+)\.csv\)"
    for page in pages(report):
        for shown, name in re.findall(pattern, page.read_text(), re.M):
            rows = list(csv.reader(io.StringIO((page.parent / f"{name}.csv").read_text())))
            cells = [
                [html.unescape(c.strip()) for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in shown.splitlines()
            ]
            if name not in ("strategies", "capture-strategies"):
                assert cells[0] == [heading(column) for column in rows[0]], name
            assert [row[0].replace("\\", "") for row in cells[2:]] == [row[0] for row in rows[1:]], name


@pytest.mark.slow
def test_a_captures_page_is_short_and_column_heads_are_words(report: Path) -> None:
    for page in report.glob("*/README.md"):
        text = page.read_text()
        assert len(text.splitlines()) <= 250
        assert len(text.split()) <= 2500
        assert text.count("[![") <= 5
    for page in pages(report):
        for head in re.findall(r"^(\|.*\|)\n\|[ :|-]+\|$", page.read_text(), re.M):
            assert "_" not in head, page
    assert (report / "server" / "summary-map.csv").read_text().startswith("strategy,splits_1g,splits_2m,splits_warm_up")


@pytest.mark.slow
def test_two_builds_are_byte_identical(
    report: Path, warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import reports.build

    monkeypatch.setattr(reports.build, "_MANY", 2)  # the second is made by two processes
    again = tmp_path / "again"
    assert run(["report", "build", "--db", str(warehouse), "--out", str(again), "--quiet"]) == 0
    assert content(again) == content(report)


@pytest.mark.slow
def test_links_resolve_and_nothing_names_this_machine(report: Path, warehouse: Path) -> None:
    for page in pages(report):
        text = page.read_text()
        for target in map(unquote, re.findall(r"\]\(([^)]+)\)", text)):
            assert (page.parent / target).is_file(), (page, target)
    for name, data in content(report).items():
        assert str(warehouse.parent).encode() not in data, name
        assert b"wall_s" not in data, name


@pytest.mark.slow
def test_figures_are_small_and_complete(report: Path) -> None:
    for stem in ("splits-over-time", "pool-over-time", "conversion-bands", "direct-map"):
        svg, png = report / "server" / f"{stem}.svg", report / "server" / f"{stem}.png"
        assert 1_000 < svg.stat().st_size < 300_000
        assert png.read_bytes().startswith(b"\x89PNG")
    assert not (report / "phone" / "splits-over-time.svg").exists()


@pytest.mark.slow
def test_an_all_4k_capture_says_so_instead_of_zero(report: Path) -> None:
    text = (report / "phone" / "numbers.md").read_text()
    row = next(line for line in text.split("## The direct map")[1].splitlines() if line.startswith("| pba"))
    assert row.split("|")[2:5] == [" n/a "] * 3
    text = (report / "phone" / "README.md").read_text()
    assert "is all in small pages here, so no strategy has a large page to split" in text
    assert "Recorded in a virtual machine: rates are real" in text
    assert "order of events is real, their rates" in (report / "server" / "README.md").read_text()


@pytest.mark.slow
def test_a_share_below_one_percent_has_no_cost_in_the_tables(report: Path) -> None:
    text = (report / "server" / "mapping-cost.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| reserve-block"))
    assert row.split("|")[2:6] == [" 0.586 % "] + [" not measured "] * 3


@pytest.mark.slow
def test_one_capture_leaves_the_others_pages_alone(
    report: Path, warehouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    one = ["report", "build", "--db", str(warehouse), "--out", str(out), "--capture", "phone", "--json", "--quiet"]
    assert run(one) == 0
    listed = json.loads(capsys.readouterr().out)
    assert sorted(listed) == sorted((out / name).as_posix() for name in content(out))
    assert not (out / "server").exists()
    assert "- server: Linux" in (out / "README.md").read_text()
    shutil.copytree(report / "server", out / "server")
    assert run(one) == 0
    assert content(out) == content(report)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) <= 3
    return said


def test_what_cannot_work_is_refused_with_the_remedy(
    warehouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.duckdb"
    with open_warehouse(empty, write=True):
        pass
    assert "ptpool ingest trace" in refused(["report", "build", "--db", str(empty)], capsys)
    assert "ptpool ingest trace" in refused(["report", "text", "--db", str(tmp_path / "none.duckdb")], capsys)
    assert "there are: phone, server" in refused(["report", "text", "--db", str(warehouse), "--capture", "x"], capsys)
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        assert "--out" in refused(["report", "build", "--db", str(warehouse), "--out", str(out), "--quiet"], capsys)


def test_a_folder_of_someone_else_is_left_alone(
    warehouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("my project\n")
    said = refused(["report", "build", "--db", str(warehouse), "--out", str(tmp_path), "--quiet"], capsys)
    assert "not a report" in said
    assert content(tmp_path) == {"README.md": b"my project\n"}


def test_captures_without_runs_are_told_to_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], only_capture: Callable[[Path], None]
) -> None:
    only_capture(tmp_path / "w.duckdb")
    for more in ([], ["--capture", "lonely"]):
        assert "ptpool replay run" in refused(["report", "build", "--db", str(tmp_path / "w.duckdb"), *more], capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_failure_leaves_the_old_report(
    report: Path, warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import reports.build

    out = tmp_path / "out"
    shutil.copytree(report, out)

    def fail(*_: object) -> dict[str, bytes]:
        raise RuntimeError

    monkeypatch.setattr(reports.build, "index_page", fail)
    with pytest.raises(RuntimeError):
        run(["report", "build", "--db", str(warehouse), "--out", str(out), "--capture", "phone", "--quiet"])
    assert content(out) == content(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def renamed(warehouse: Path, path: Path, name: str) -> Path:
    """A copy of the warehouse with its capture phone under another name."""
    shutil.copy(warehouse, path)
    with open_warehouse(path, write=True) as connection:
        connection.execute("UPDATE capture SET name = ? WHERE name = 'phone'", [name])
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_name_with_blanks_is_linked_and_quoted(warehouse: Path, tmp_path: Path) -> None:
    db, out = renamed(warehouse, tmp_path / "w.duckdb", "my [old] phone"), tmp_path / "out"
    assert run(["report", "build", "--db", str(db), "--out", str(out), "--quiet"]) == 0
    assert "- [my \\[old\\] phone](my%20%5Bold%5D%20phone/README.md)" in (out / "README.md").read_text()
    assert "--capture 'my [old] phone' --strategy" in (out / "my [old] phone" / "provenance.md").read_text()
    test_links_resolve_and_nothing_names_this_machine(out, db)


@pytest.mark.parametrize(
    "name", ["../escaped", "..", ".", "a/b", "README.md", "strategies.csv", "index.html", "glossary.html"]
)
def test_a_name_that_is_no_folder_writes_nothing(
    warehouse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    db = renamed(warehouse, tmp_path / "w.duckdb", name)
    for capture in (name, "all"):
        arguments = ["report", "build", "--db", str(db), "--out", str(tmp_path / "out"), "--capture", capture]
        assert "cannot be the name of a folder" in refused([*arguments, "--quiet"], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


class Fails:
    """Stands for a function that works `after` times and then does not."""

    def __init__(self, works: Callable[..., object], after: int, fail: Callable[[], None]) -> None:
        self.works, self.left, self.fail = works, after, fail

    def __call__(self, *arguments: object) -> object:
        self.left -= 1
        if self.left == -1:
            self.fail()
        return self.works(*arguments)


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def full_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("fail", [ctrl_c, full_disk])
@pytest.mark.parametrize("before", [True, False])
def test_an_interrupt_or_a_full_disk_leaves_all_as_it_was(
    warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None], before: bool
) -> None:
    import reports.build

    monkeypatch.setattr(reports.build, "capture_page", lambda _, name: {"README.md": name.encode()})
    monkeypatch.setattr(reports.build, "index_page", lambda *_: {"README.md": b"new", "index.csv": b"new"})
    out = tmp_path / "out"
    if before:
        for page in (out, out / "server"):  # phone is new, server and the index replace older ones
            page.mkdir()
            (page / "README.md").write_text(f"{reports.build.MARK} old")
    old = content(tmp_path)
    command = ["report", "build", "--db", str(warehouse), "--out", str(out), "--quiet"]
    for module, name, calls in ((shutil, "move", 7 if before else 5), (reports.build, "_write", 3)):
        works = getattr(module, name)
        for after in range(calls):
            monkeypatch.setattr(module, name, Fails(works, after, fail))
            assert run(command) == (130 if fail is ctrl_c else 2), (name, after)
            assert content(tmp_path) == old, (name, after)
            assert [path.name for path in tmp_path.iterdir()] == (["out"] if before else []), (name, after)
        monkeypatch.setattr(module, name, works)
    assert run(command) == 0
    pages = {f"{folder}{name}" for folder in ("", "phone/", "server/") for name in ("README.md", "index.html")}
    assert content(out).keys() == {"index.csv", *pages}


def test_a_full_disk_is_said_with_the_remedy(
    warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import reports.build

    monkeypatch.setattr(reports.build, "capture_page", Fails(lambda *_: {}, 0, full_disk))
    said = refused(["report", "build", "--db", str(warehouse), "--out", str(tmp_path / "out"), "--quiet"], capsys)
    assert "No space left on device" in said
    assert "free some space" in said


def test_a_capture_imported_in_part_is_not_held_against_its_snapshots(warehouse: Path, tmp_path: Path) -> None:
    db = tmp_path / "w.duckdb"
    shutil.copy(warehouse, db)
    with open_warehouse(db, write=True) as connection:
        connection.execute(
            "INSERT INTO snapshot_value (capture_id, moment, source, name, value) VALUES "
            "('id-of-server', 'before', 'vmstat', 'direct_map_level2_splits', 5), "
            "('id-of-server', 'after', 'vmstat', 'direct_map_level2_splits', 9)"
        )
        assert [row["recorded_after"] for row in load_case(connection, "server").answers["agreement"].records()] == [9]
        for column in ("window_from_ns", "window_to_ns"):
            connection.execute(f"UPDATE capture SET {column} = first_ns WHERE name = 'server'")
            assert load_case(connection, "server").answers["agreement"].rows == ()
            connection.execute(f"UPDATE capture SET {column} = NULL WHERE name = 'server'")


def changed(warehouse: Path, tmp_path: Path, *statements: str) -> str:
    """All pages of the capture phone after changes to the warehouse."""
    db, out = tmp_path / "w.duckdb", tmp_path / "out"
    shutil.copy(warehouse, db)
    with open_warehouse(db, write=True) as connection:
        for statement in statements:
            connection.execute(statement)
    build = ["report", "build", "--db", str(db), "--out", str(out), "--capture", "phone", "--quiet"]
    assert run(build) == 0
    return "".join(page.read_text() for page in pages(out / "phone"))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_recording_of_one_moment_and_a_part_of_one(warehouse: Path, tmp_path: Path) -> None:
    moment = "SET last_ns = first_ns, events = 1, window_to_ns = first_ns"
    text = changed(warehouse, tmp_path, f"UPDATE capture {moment} WHERE name = 'phone'")
    assert "1 event in 0 ns, part of the recording, with kernel stacks." in text
    assert "All events are of one moment" in text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_strategies_that_were_not_replayed_are_not_missed(warehouse: Path, tmp_path: Path) -> None:
    text = changed(
        warehouse,
        tmp_path,
        "DELETE FROM run WHERE capture_id = 'id-of-phone' AND strategy <> 'pte-mapped'",
        "INSERT INTO snapshot_value (capture_id, moment, source, name, value) VALUES "
        "('id-of-phone', 'before', 'vmstat', 'direct_map_level2_splits', 5), "
        "('id-of-phone', 'after', 'vmstat', 'direct_map_level2_splits', 9)",
    )
    assert "No strategy with a pool has a time line" in text
    assert "2M splits: 4 recorded, not replayed replayed with today's kernel." not in text
    assert "2M splits: 4 recorded; today's kernel was not replayed." in text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_text_from_a_recording_is_no_html(
    saying: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the recording or the warehouse says; a page has HTML only where its template has."""
    db, out = saying("<script>alert(1)</script>\x1b[2J"), tmp_path / "out"
    assert run(["report", "build", "--db", str(db), "--out", str(out), "--quiet"]) == 0
    assert all("alert(1)" in page.read_text() for page in out.rglob("README.md"))
    for page in out.rglob("*.md"):
        text = page.read_text()
        assert "\x1b" not in text
        outside_code = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        tags = set(re.findall(r"<[^ <>]*", outside_code)) - {"<!--"}
        assert tags == set(), page
    assert run(["report", "text", "--db", str(db), "--capture", "phone"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    from reports.build import _sweep

    stale, going_on, replacing = (tmp_path / f".out-{name}" for name in ("stale123", "goingon1", "replaci1"))
    theirs = [tmp_path / name for name in (".out-notours1", ".other-stale12", ".out-x", "out-stale123")]
    for folder in (stale, going_on, replacing, *theirs):
        (folder / "new").mkdir(parents=True)
    (theirs[0] / "mine").touch()
    (replacing / "old/phone").mkdir(parents=True)  # killed while it put pages into place: these are the old ones
    lock = os.open(going_on, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    _sweep(tmp_path / "out")
    os.close(lock)
    assert not stale.exists()
    assert all(folder.is_dir() for folder in (going_on, replacing, *theirs))
