"""Folders of what can be made again: compiled loops, and the schema as an empty warehouse."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from ptpool.provenance import source_hash

_KEEP = 9  # folders: switching between checkouts does not recompile


@cache
def cache_folder(stage: str, variant: str = "") -> str:
    """The folder of a stage, or of ``schema``: named by a hash of all sources that the stage can see."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptpool" / "compiled"
    folder = base / f"{stage}-{source_hash('ptpool', stage)}{variant}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        with tempfile.TemporaryFile(dir=folder):
            pass
        newest_first = sorted(base.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for stale in newest_first[_KEEP:]:
            shutil.rmtree(stale, ignore_errors=True)
    except OSError:  # the home folder cannot be written: a private folder of this process
        return tempfile.mkdtemp(prefix="ptpool-compiled-")
    return str(folder)
