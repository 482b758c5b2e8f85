"""What cannot be used: exit status 2, at most three plain lines, and the warehouse as it was."""

import gzip
import lzma
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

GOOD = """\
            bash-1977    [000] d..2.    17.284993: mm_page_alloc: page=00000000b13f5c46 pfn=0x10 order=0 migratetype=0 gfp_flags=GFP_KERNEL
            bash-1977    [000] d..2.    17.284994: <stack trace>
 => __alloc_pages_noprof
 => __pte_alloc
            bash-1977    [000] d..2.    17.284995: mm_page_free: page=00000000b13f5c46 pfn=0x10 order=0
"""
HEADER = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 4/4   #P:1\n#\n"

LONG = "".join(GOOD.replace("0x10", hex(place * 7919 % 65536)) for place in range(3000)).encode()

DAMAGED = {  # name: (bytes, what the message says)
    "empty.txt": (b"", "empty"),
    "unrelated.txt": (b"Dear all,\n\nhere is the trace: later.\n" * 50, "not a trace"),
    "binary.txt": (bytes(range(256)) * 64, "binary"),
    "header-only.txt": (HEADER.encode(), "cut off"),
    "no-kmem.txt": (GOOD.replace("mm_page_", "mm_other_").encode(), "no page-allocation events"),
    "graph.txt": (b"# tracer: function_graph\n 0)   |  /* mm_page_free: page=0 order=0 */\n", "line 2"),
    "perf.data": (b"PERFILE2" + bytes(200), "attributes"),
    "trace.dat": (b"\x17\x08\x44tracing6\0" + bytes(200), "impossible byte order"),
    "cut-line.txt": (GOOD.encode()[:-20], "line 5: cut off"),
    "cut-stack.txt": ((HEADER + GOOD).encode(), "3 of the 4 entries"),
    "garbage.txt": (
        GOOD.replace(" => __pte_alloc\n", " => __pte_alloc\nwatchdog: BUG\n").encode(),
        "line 5: not a trace line",
    ),
    "no-pfn.txt": (GOOD.replace("pfn=0x10 order=0\n", "order=0\n").encode(), "line 5"),
    "bad-pfn.txt": (GOOD.replace("pfn=0x10 order=0 mig", "pfn=0xzz order=0 mig").encode(), "line 1"),
    "huge-pfn.txt": (GOOD.replace("pfn=0x10", "pfn=0xfffffffffffff").encode(), "line 1"),
    "beyond-any-pfn.txt": (GOOD.replace("pfn=0x10 order=0", "pfn=0xffffffffff order=1").encode(), "line 1"),
    "huge-order.txt": (GOOD.replace("order=0", "order=40").encode(), "line 1"),
    "cut-in-order.txt": (GOOD.replace("order=0 mig", "mig").encode(), "line 1"),
    "counter.txt": (GOOD.replace("17.284", "17284").encode(), "counts, not seconds"),
    "endless.txt": ((GOOD + "x" * (3 << 20)).encode(), "no end of line"),
    "cut.txt.gz": (gzip.compress(LONG)[:-200], "damaged or cut off"),
    "cut.txt.xz": (lzma.compress(LONG)[:-40], "damaged or cut off"),
    "flipped.txt.gz": (gzip.compress(LONG)[:-8] + b"12345678", "damaged or cut off"),
}


def zstd(data: bytes) -> bytes:
    import pyarrow as pa

    return pa.compress(data, codec="zstd", asbytes=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(
    name: str, tmp_path: Path, ingest: Callable[..., int], db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, says = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    assert ingest(tmp_path / name) == 2
    complains(capsys, name, says)
    assert not db.exists()


def complains(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert 1 <= len(lines) <= 3
    assert not captured.out
    assert "Traceback" not in captured.err
    for word in words:
        assert word in captured.err


def test_cut_zstd(tmp_path: Path, ingest: Callable[..., int], db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.zst").write_bytes(zstd(LONG)[:-30])
    assert ingest(tmp_path / "cut.zst") == 2
    complains(capsys, "cut.zst", "damaged or cut off")
    assert not db.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "finding", "events"),
    [
        ("garbage.txt", "damaged_lines", 2),
        ("no-pfn.txt", "damaged_lines", 1),
        ("cut-line.txt", "cut_off", 1),
        ("cut-stack.txt", "cut_off", 2),
        ("cut.txt.gz", "damaged_compression", None),
        ("cut.txt.xz", "damaged_compression", None),
    ],
)
def test_best_effort_uses_the_rest(
    name: str,
    finding: str,
    events: int | None,
    tmp_path: Path,
    ingest: Callable[..., int],
    query: Callable[..., list[tuple[object, ...]]],
) -> None:
    (tmp_path / name).write_bytes(DAMAGED[name][0])
    assert ingest(tmp_path / name, "--best-effort") == 0
    ((value, severity),) = query(f"SELECT value, severity FROM import_stat WHERE name = '{finding}'")
    assert value == 1
    assert severity in ("error", "data_loss")
    ((stored,),) = query("SELECT count(*) FROM page_event")
    assert stored == events or (events is None and stored > 100)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.txt"], "no such file"),
        (["/dev/null"], "a pipe or device"),
        (["."], "no trace in this folder"),
        ([".", "good.txt"], "a folder among several paths"),
        (["good.txt", "--from", "5"], "not a time"),
        (["good.txt", "--from", "3s", "--to", "2s"], "not after"),
        (["good.txt", "--from", "3s"], "none in the window"),
        (["good.txt", "--format", "csv"], "no such format"),
        (["good.txt", "--format", "perf-data"], "no perf.data"),
        (["good.txt", "--snapshots", "nowhere"], "no such folder"),
        (["good.txt", "--nonsense"], "nonsense"),
        *(
            (["good.txt", f"--name={name}"], "letters and digits")
            for name in (
                "",
                ".",
                "..",
                "../../x",
                "a/b",
                "a,b",
                "all",
                "a b",
                " a",
                "-a",
                "_a",
                "a\n",
                "a\0",
                "x" * 201,
            )
        ),
    ],
)
def test_arguments(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ingest: Callable[..., int],
    db: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    if "good.txt" in arguments:
        Path("good.txt").write_text(GOOD)
    assert ingest(*arguments) == 2
    complains(capsys, says)
    assert not db.exists()


def test_a_file_that_may_not_be_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ingest: Callable[..., int],
    db: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(_: object) -> str:
        raise PermissionError(13, "Permission denied", "before/vmstat")  # root may read everything

    (tmp_path / "good.txt").write_text(GOOD)
    monkeypatch.setattr("ingest.importer.sha256_of", refused)
    assert ingest(tmp_path / "good.txt") == 2
    complains(capsys, "before/vmstat: permission denied")
    assert not db.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        ("buddyinfo", "Node 0, zone      DMA      0      x\n"),
        ("pagetypeinfo", "Node    0, zone      DMA, type      Strange      0      0\n"),
        ("zoneinfo", "what is this\n"),
        ("vmstat", "nr_free_pages\n"),
        ("meminfo", "MemTotal:       16383472 MB\n"),
        ("kpageflags", "odd"),
    ],
)
def test_malformed_snapshot(
    snapshot: str,
    text: str,
    tmp_path: Path,
    ingest: Callable[..., int],
    query: Callable[..., list[tuple[object, ...]]],
    db: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "before").mkdir(parents=True)
    (bundle / "trace.txt").write_text(GOOD)
    (bundle / "before" / snapshot).write_text(text)
    assert ingest(bundle) == 2
    complains(capsys, f"before/{snapshot}")
    assert not db.exists()
    assert ingest(bundle, "--best-effort") == 0
    assert query("SELECT value FROM import_stat WHERE name = 'damaged_snapshots'") == [(1,)]


def everything(query: Callable[..., list[tuple[object, ...]]]) -> list[object]:
    tables = [name for (name,) in query("SELECT table_name FROM duckdb_tables() ORDER BY ALL")]
    return [query(f'FROM "{table}" ORDER BY ALL') for table in tables]


@pytest.mark.slow
def test_a_failed_import_leaves_the_warehouse_as_it_was(
    tmp_path: Path,
    ingest: Callable[..., int],
    query: Callable[..., list[tuple[object, ...]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt", "--name", "it") == 0
    before = everything(query)
    (tmp_path / "bad.txt").write_bytes(DAMAGED["garbage.txt"][0])
    assert ingest(tmp_path / "bad.txt", "--name", "it", "--replace") == 2
    assert ingest(tmp_path / "bad.txt", "--name", "other") == 2
    capsys.readouterr()
    (tmp_path / "more.txt").write_text(GOOD * 2)
    assert ingest(tmp_path / "more.txt", "--name", "it") == 2
    complains(capsys, "--replace")
    assert everything(query) == before
    assert ingest(tmp_path / "more.txt", "--name", "it", "--replace") == 0
    assert query("SELECT count(*) FROM page_event") == [(4,)]


@pytest.mark.parametrize(
    ("version", "words"),
    [("9999", ("newer", "9999", "upgrade ptpool")), ("1", ("older", "schema 1,", "make it again: import its traces"))],
)
def test_another_schema(
    tmp_path: Path,
    ingest: Callable[..., int],
    db: Path,
    capsys: pytest.CaptureFixture[str],
    version: str,
    words: tuple[str, ...],
) -> None:
    import duckdb

    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt") == 0
    with duckdb.connect(str(db)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [version])
    capsys.readouterr()
    assert ingest(tmp_path / "good.txt", "--name", "again") == 2
    complains(capsys, *words)


def test_a_warehouse_that_lacks_a_view_of_this_version_is_older(
    tmp_path: Path, ingest: Callable[..., int], db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import duckdb

    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt") == 0
    with duckdb.connect(str(db)) as connection:
        connection.execute("DROP VIEW strategy_search")
    capsys.readouterr()
    assert ingest(tmp_path / "good.txt", "--name", "again") == 2
    complains(capsys, "older ptpool", "make it again")


def test_locked(tmp_path: Path, ingest: Callable[..., int], db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    assert ingest(tmp_path / "good.txt") == 0
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import duckdb; c = duckdb.connect({str(db)!r}); print('held', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        capsys.readouterr()
        assert ingest(tmp_path / "good.txt", "--name", "again") == 2
        complains(capsys, "in use by another process", str(holder.pid))
    finally:
        holder.communicate("\n")


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from ptpool.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
def test_full_disk(tmp_path: Path, db: Path) -> None:
    (tmp_path / "good.txt").write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-c", FULL, "ingest", "trace", str(tmp_path / "good.txt"), "--db", str(db), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 3
    assert str(db) in done.stderr
    assert not db.exists()
