"""Files that appear whole or not at all, and the memory of this machine."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptpool.errors import UsageError

PART = ".part"
"""Ending of a file that is being written. One that is found later was left by a process that was killed."""


def write_whole(path: Path, content: Any, remedy: str = "make room, or name another folder") -> None:
    """Write bytes under another name next to `path`, and give the file its own name when it is whole.

    Raises:
        UsageError: it cannot be written; what was there before is still there.
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
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
