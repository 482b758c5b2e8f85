"""The one door to numba.

Numba's on-disk cache looks only at the file that defines a function: an edit of a helper in another file would leave
a stale loop in use. So the cache folder is named by a hash of every source of the house, and must be chosen before
numba is imported. Import ``compiled`` from here and never ``njit`` from numba.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from ptpool.provenance import source_hash

_KEEP = 3  # folders of earlier versions kept, so that switching between two checkouts does not recompile


def _cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptpool" / "compiled"
    folder = base / source_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        with tempfile.TemporaryFile(dir=folder):
            pass
        others = sorted(base.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for stale in others[_KEEP:]:
            shutil.rmtree(stale, ignore_errors=True)
    except OSError:  # a home that cannot be written: compile into a private folder of this process
        return Path(tempfile.mkdtemp(prefix="ptpool-compiled-"))
    return folder


os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())

from numba import njit  # noqa: E402  (the folder has to be set first)

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function of flat arrays to machine code, cached on disk, releasing the GIL."""
    return cast(F, njit(cache=True, nogil=True)(function))
