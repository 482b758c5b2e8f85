"""Folders instead of a perf.data, by ``perf record --threads`` and ``--kcore``: ``data``, ``data.0``, ``data.1``, ...

``data`` is a perf.data; the others, if there are any, hold the records of one buffer each, without a header
(tools/perf/util/data.c:perf_data__create_dir, session.c:__perf_session__process_dir_events). ``kcore_dir`` has the
symbols of the kernel.
"""

import re
from collections.abc import Sequence
from pathlib import Path

MAIN = "data"
KALLSYMS = "kcore_dir/kallsyms"
MAGICS = (b"PERFILE2", b"2ELIFREP")

_PART = re.compile(r"data\.(\d{1,6})")


def is_part(path: Path) -> bool:
    """Whether a file has the records of one buffer of a folder."""
    return _PART.fullmatch(path.name) is not None and (path.parent / MAIN).is_file() and not _has_header(path)


def parts_in(folder: Path) -> list[Path]:
    """The files of such a folder; none where it is another one."""
    main = folder / MAIN
    if not main.is_file() or not _has_header(main):
        return []
    parts = [path for path in folder.iterdir() if path.is_file() and is_part(path)]
    return [main, *sorted(parts, key=lambda path: int(path.suffix[1:]))]


def recordings(paths: Sequence[Path]) -> list[list[Path]]:
    """The files of each recording: one, or ``data`` and those with the records of its buffers."""
    found: list[list[Path]] = []
    for path in paths:
        if found and found[-1][0] == path.parent / MAIN and is_part(path):
            found[-1].append(path)
        else:
            found.append([path])
    return found


def _has_header(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8).startswith(MAGICS)
