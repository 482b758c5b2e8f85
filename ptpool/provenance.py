"""Where a number comes from: the version of the code and the bytes of its input."""

import hashlib
import json
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from ptpool import __version__

_HOUSE = Path(__file__).resolve().parent.parent
_SUFFIXES = {".py", ".sql", ".toml", ".csv"}


@cache
def source_hash(*packages: str) -> str:
    """Hash of the sources and rule files of the named top-level packages (default: all that compute results).

    The default leaves out the reports, which do not change results.
    """
    digest = hashlib.sha256()
    for package in packages or ("ptpool", "ingest", "replay"):
        for path in sorted((_HOUSE / package).rglob("*")):
            if path.suffix in _SUFFIXES and "__pycache__" not in path.parts:
                digest.update(path.relative_to(_HOUSE).as_posix().encode() + b"\0")
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def code_version() -> str:
    """The version as stored with every run: release number and hash of the sources behind the results."""
    return f"{__version__}+{source_hash()}"


def identity(length: int = 16, **parts: Any) -> str:
    """A stable identity of named JSON values: the same parts give the same hexadecimal string on every machine."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def sha256_of(paths: Iterable[Path]) -> str:
    """SHA-256 over the names and bytes of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path.name) + b"\0")
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
