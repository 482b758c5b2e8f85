"""What a target of the fuzzing is, and what several of them read."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from mutations import TEXT, Mutation

ROOT = Path(__file__).parents[2]

Files = dict[str, bytes]
CORPUS, INPUTS, CAPTURES = ROOT / "tests/ingest/corpus", ROOT / "tests/ingest/inputs", ROOT / "data/captures"

KALLSYMS = b"ffffffff81000000 T _text\nffffffff81000400 T __alloc_pages_noprof\nffffffff81000a00 t caller [mod]\nffffffff81009000 T _etext\n"


@dataclass(frozen=True)
class Target:
    """A reader: what it reads well, and how it reads the files of a folder. It raises UsageError, or finds them good."""

    seeds: Callable[[], list[Files]]
    read: Callable[[Files, Path, bool], object]  # files, folder to write them to, best effort
    changed: Callable[[str], bool] = lambda name: True  # which files are mutated
    text: tuple[Mutation, ...] = TEXT  # how those of text are


def write(files: Files, folder: Path) -> None:
    """Write the files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@cache
def dump(name: str) -> bytes:
    return bytes(
        pa.CompressedInputStream(pa.OSFile(str(ROOT / f"tests/data/free_lists/running/{name}.zst")), "zstd").read()
    )


@cache
def warehouse() -> tuple[Any, Any]:
    """A warehouse with one capture, and what keeps it open."""
    from ptpool.warehouse import open_warehouse

    opened = open_warehouse(Path(tempfile.mkdtemp()) / "it.duckdb", write=True)
    connection = opened.__enter__()
    connection.execute(
        "INSERT INTO capture BY NAME SELECT 'c' AS capture_id, 'n' AS name, 's' AS source, 'h' AS sha256, 'ftrace' AS format,"
        "4096 AS page_size, 1 AS cpus, 'unknown' AS timing, 0 AS first_ns, 0 AS last_ns, 0 AS events, 0 AS lost_events,"
        "false AS has_stacks, 'v' AS code_version"
    )
    return connection, opened
