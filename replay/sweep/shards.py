"""Finished runs as files: one Parquet shard each, in a folder that belongs to one sweep.

A shard is one row: the run's settings, its metrics and orders as lists, its timing. It appears under its name when it
is complete; the name holds a checksum, by which damage is found.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ptpool.errors import UsageError
from ptpool.files import PART, write_whole
from ptpool.provenance import code_version
from ptpool.vocabulary import SLOW_PATH_STEPS
from ptpool.warehouse import delete_runs, transaction
from replay.runs.one_run import Timed
from replay.runs.run import Run

_MANIFEST, _LOCK = "manifest.json", ".lock"
_COUNTED = ("attempts", "failures", "refill_attempts", "refill_failures", *SLOW_PATH_STEPS)
_REMEDY = "make room, or check the permissions of the folder"
_ORDERS = pa.list_(pa.struct([("page_order", pa.int8()), *((name, pa.int64()) for name in _COUNTED)]))


@contextmanager
def open_shards(folder: Path, sweep: str, wanted: Iterable[Run]) -> Iterator["Shards"]:
    """Open a folder of shards, and create it if it does not exist; no other process can open it meanwhile.

    Args:
        folder: where they are.
        sweep: name of the sweep.
        wanted: its runs.

    Raises:
        UsageError: the folder belongs to another sweep, is in use by another process, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise UsageError(f"{folder}: not a folder for shards ({error})", "name another with --out") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{folder}: another ptpool is writing shards there",
                "wait for it to finish, or name another folder with --out",
            ) from error
        except OSError:  # a file system without locks
            pass
        yield Shards(folder, sweep, wanted)


class Finished(NamedTuple):
    """The shards of finished runs."""

    whole: dict[str, Path]
    """By run_id."""
    damaged: list[Path]


class Shards:
    """A folder of shards: see `open_shards`."""

    def __init__(self, folder: Path, sweep: str, wanted: Iterable[Run]) -> None:
        self.folder, self.sweep = folder, sweep
        runs = {run.run_id: run.columns for run in wanted}
        manifest = folder / _MANIFEST
        try:
            other = json.loads(manifest.read_text(encoding="utf-8"))["sweep"] if manifest.exists() else sweep
            if other == sweep:
                content = {"sweep": sweep, "code_version": code_version(), "runs": runs}
                write_whole(manifest, json.dumps(content, indent=1).encode(), _REMEDY)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder}: not a folder for shards ({error})", "name another with --out") from error
        if other != sweep:
            raise UsageError(f"{folder}: holds the shards of the sweep {other}", "name another folder with --out")
        for pattern in (f"{_MANIFEST}*{PART}", f"capture_id=*/*.parquet*{PART}"):  # of a process that was killed
            for part in folder.glob(pattern):
                part.unlink()

    def write(self, run: Run, timed: Timed) -> None:
        """Write a finished run: ``capture_id=CAPTURE/RUN.CHECKSUM.parquet``.

        Raises:
            UsageError: it cannot be written.
        """
        result = timed.result
        row = run.columns | {
            "run_id": run.run_id,
            "code_version": code_version(),
            "assumptions": result.assumptions,
            "started_at": timed.started_at,
            "wall_s": timed.wall_s,
            "events": result.events,
            "metrics": result.tables["run_metric"].to_pylist(),
        }
        table = pa.table({name: pa.array([value]) for name, value in row.items()})
        orders = result.tables["run_order"].to_pylist() if "run_order" in result.tables else []
        table = table.append_column("orders", pa.array([orders], _ORDERS))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)  # a single row
        content = sink.getvalue()
        path = self.folder / f"capture_id={run.capture['capture_id']}" / f"{run.run_id}.{_checksum(content)}.parquet"
        write_whole(path, content, _REMEDY)

    def finished(self, wanted: Iterable[Run]) -> Finished:
        """The shards of these runs."""
        run_ids = {run.run_id for run in wanted}
        found = Finished({}, [])
        for path in sorted(self.folder.glob("*/*.parquet")):
            run_id, _, checksum = path.stem.partition(".")
            if run_id in run_ids:
                if _checksum(path.read_bytes()) == checksum:
                    found.whole[run_id] = path
                else:
                    found.damaged.append(path)
        return found


def _checksum(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def merge(connection: duckdb.DuckDBPyConnection, sweep: str, run_ids: list[str], shards: list[Path]) -> None:
    """Put finished runs into the warehouse in one transaction, and record which runs make up the sweep.

    Args:
        connection: a warehouse open for writing.
        sweep: name of the sweep; the list of its runs is replaced.
        run_ids: all its runs, including those that the warehouse had before.
        shards: files of the other runs.
    """
    with transaction(connection):
        if shards:
            connection.execute(
                "CREATE TEMP TABLE shard AS FROM read_parquet(?, hive_partitioning = false)",
                [[str(path) for path in shards]],
            )
            identity = ", ".join(_identity(connection))
            superseded = connection.execute(
                f"SELECT run.run_id FROM run SEMI JOIN (SELECT {identity} FROM shard) USING ({identity})"
            ).fetchall()
            delete_runs(connection, [run_id for (run_id,) in superseded])
            connection.execute(f"""
                INSERT INTO run BY NAME
                SELECT {identity}, run_id, false AS is_default, true AS metrics_only, code_version, assumptions
                FROM shard;
                INSERT INTO run_metric BY NAME
                SELECT run_id, metric, value, unit
                FROM (SELECT run_id, unnest(metrics, recursive := true) FROM shard) JOIN metric_glossary USING (metric);
                INSERT INTO run_order BY NAME SELECT run_id, unnest(orders, recursive := true) FROM shard;
                INSERT INTO run_timing SELECT run_id, started_at, wall_s, events / greatest(wall_s, 1e-9) FROM shard;
                DROP TABLE shard;
            """)
        connection.execute("DELETE FROM sweep WHERE sweep = ?", [sweep])
        connection.execute("INSERT INTO sweep SELECT ?, unnest(?::VARCHAR[])", [sweep, run_ids])


def _identity(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Columns of table run that identify a run: `Run.columns`."""
    others = {"run_id", "is_default", "metrics_only", "code_version", "assumptions"}
    return [name for (name, *_) in connection.execute("DESCRIBE run").fetchall() if name not in others]
