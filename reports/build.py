"""``report build``: write the pages and the index into a folder, all or nothing."""

import errno
import fcntl
import glob
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

import duckdb

from ptpool.errors import UsageError
from ptpool.warehouse import capture_names, capture_row, open_warehouse
from reports.html import html_pages
from reports.index import index_page
from reports.page import capture_page

MARK = "<!-- written by ptpool report build -->"
"""First line of every page. A folder without it is never replaced."""

_ELSEWHERE = "name another folder with --out"
_NO_FOLDERS = ("", ".", "..", "index.html")


def replayed(connection: duckdb.DuckDBPyConnection, wanted: str) -> list[str]:
    """Names of the captures to report on.

    Args:
        connection: an open warehouse.
        wanted: a capture's name, or ``all``.

    Raises:
        UsageError: no such capture, or nothing was replayed yet.
    """
    rows = connection.execute("SELECT DISTINCT capture FROM strategy_summary ORDER BY capture").fetchall()
    done = [name for (name,) in rows]
    if wanted != "all":
        capture_row(connection, wanted)
        if wanted not in done:
            raise UsageError(f"{wanted}: not replayed yet", f"replay it first: ptpool replay run --capture {wanted}")
        return [wanted]
    if not capture_names(connection):
        raise UsageError("the warehouse holds no capture", "import a trace first: ptpool ingest trace FILE")
    if not done:
        raise UsageError("the warehouse holds no run to report on", "replay first: ptpool replay run")
    return done


def build(
    connection: duckdb.DuckDBPyConnection, out: Path, wanted: str, tell: Callable[[int, str], None]
) -> list[Path]:
    """Write the report, replacing an earlier one.

    Args:
        connection: an open warehouse.
        out: folder of the report; created if there is none.
        wanted: a capture's name, or ``all``.
        tell: called with the number of pages done and the name of the next.

    Returns:
        The files written, sorted.

    Raises:
        UsageError: there is nothing to report on, or `out` cannot be written or holds something else.
    """
    names = replayed(connection, wanted)
    there = {page.parent.name for page in out.glob("*/README.md") if _ours(page.parent)}
    index = index_page(connection, {*names, *there})
    _check(out, names, index)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch, ExitStack() as stack:
            lock = os.open(scratch, os.O_RDONLY)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            for name, files in _pages(connection, names, tell):
                _write(fresh / name, files)
            _write(fresh, index)
            written = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
            _move(fresh, out, Path(scratch) / "old")
    except OSError as error:
        remedy = "free some space, or name another folder with --out" if error.errno == errno.ENOSPC else _ELSEWHERE
        raise UsageError(f"{out}: {error.strerror or error}", remedy) from error
    return [out / path for path in written]


def _sweep(out: Path) -> None:
    """Remove what builds that were killed left: their folders are not locked. Other folders stay."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}-????????"):
        held = {path.name for path in folder.iterdir()} if folder.is_dir() and not folder.is_symlink() else set()
        if "new" not in held or not held <= {"new", "old"}:
            continue
        if any((folder / "old").glob("*")):
            continue  # it was killed while it replaced a report: pages of the old one are in it
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # a build that goes on
            pass
        finally:
            os.close(lock)


def _pages(
    connection: duckdb.DuckDBPyConnection, names: list[str], tell: Callable[[int, str], None]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Name and files of every page. Several pages are made by processes, each of which opens the warehouse."""
    jobs = min(len(names), os.cpu_count() or 1)
    if len(names) < _MANY or jobs == 1:
        for i, name in enumerate(names):
            tell(i, name)
            yield name, capture_page(connection, name)
        return
    here = "SELECT path FROM duckdb_databases() WHERE database_name = current_database()"
    ((path,),) = connection.execute(here).fetchall()
    workers = ProcessPoolExecutor(jobs, multiprocessing.get_context("forkserver"), initializer=_leave_interrupts)
    try:
        pages = {workers.submit(_page, path, name): name for name in names}
        for i, page in enumerate(as_completed(pages)):
            tell(i, pages[page])
            yield pages[page], page.result()
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        workers.shutdown(cancel_futures=True)


_MANY = 3
"""Number of pages from which processes are worth starting."""


def _leave_interrupts() -> None:
    """Leave interrupts from the keyboard to the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _page(path: str, name: str) -> dict[str, bytes]:
    with open_warehouse(Path(path)) as connection:
        return capture_page(connection, name)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in {**files, **html_pages(files)}.items():
        (folder / name).write_bytes(content)


def _ours(folder: Path) -> bool:
    page = folder / "README.md"
    try:
        return page.read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


def _check(out: Path, names: list[str], index: Iterable[str]) -> None:
    """Refuse to write outside of `out`, or to replace anything but an earlier report."""
    taken = {*_NO_FOLDERS, *index, *(f"{page.removesuffix('.md')}.html" for page in index)}
    for name in names:
        if name in taken or any(sign in name for sign in "/\\\0"):
            raise UsageError(f"capture {name!r}: cannot be the name of a folder", "import it again with another --name")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file, not a folder", _ELSEWHERE)
    for folder in (out, *(out / name for name in names)):
        if folder.exists() and any(folder.iterdir()) and not _ours(folder):
            raise UsageError(f"{folder}: holds files that are not a report", _ELSEWHERE)


def _move(fresh: Path, out: Path, old: Path) -> None:
    """Put the new pages into place; on failure or interrupt, leave `out` as it was."""
    created = not out.exists()
    out.mkdir(exist_ok=True)
    old.mkdir()
    begun: list[tuple[str, bool]] = []
    try:
        for item in sorted(fresh.iterdir()):
            begun.append((item.name, (out / item.name).exists()))
            if begun[-1][1]:
                shutil.move(out / item.name, old / item.name)
            shutil.move(item, out / item.name)
    except BaseException:
        for name, replaced in begun:
            if replaced and not (old / name).exists():
                continue
            _remove(out / name)
            if replaced:
                shutil.move(old / name, out / name)
        if created:
            out.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
