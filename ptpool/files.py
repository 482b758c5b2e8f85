"""Files that appear complete or not at all, and the memory of this machine."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptpool.errors import UsageError

PART = ".part"
"""Suffix of a file that is being written. If one is found later, the process that wrote it was killed."""


def write_whole(path: Path, content: Any, remedy: str = "make room, or name another folder") -> None:
    """Write bytes under a temporary name next to `path`, then rename the file.

    Raises:
        UsageError: it cannot be written; an older file of this name is unchanged.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"{path}: cannot be written ({error.strerror})", remedy) from error


def physical_memory() -> int:
    """Memory of this machine, bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
