"""Tables and sizes as text: Markdown for documents, aligned columns for a terminal."""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def printable(text: str) -> str:
    """Text for a terminal: control characters, which it would obey, and bytes of no encoding as escapes."""
    shown = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return shown.encode("utf-8", "backslashreplace").decode()


def tell(text: str) -> None:
    """Print to standard error. All remarks and errors come through here; one that nobody reads stops no work."""
    try:
        sys.stderr.write(printable(text) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> str:
    """A Markdown table without a final newline. A `|` or newline in a cell cannot break it; other markup is kept.

    Args:
        columns: headings.
        rows: cells, already formatted.
        right: for each column, whether it is aligned to the right; by default none is.
    """
    rule = ["---:" if at_right else "---" for at_right in right] or ["---"] * len(columns)
    lines = [[_cell(cell) for cell in columns], rule, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def plain_markdown(text: object) -> str:
    """Text from a recording or a user, escaped: no part of it is read as Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", str(text).replace("&", "&amp;").replace("<", "&lt;"))


def aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A plain table: text on the left, numbers on the right, no trailing blanks."""
    cells = [[printable(_shown(cell)) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]
    right = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows) and bool(rows)
        for i in range(len(columns))
    ]
    lines = [list(columns), ["-" * width for width in widths], *cells]
    return "\n".join(aligned_line(line, widths, right) for line in lines)


def aligned_line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], gap: str = "  ") -> str:
    """One line of an aligned table."""
    padded = (
        cell.rjust(width) if at_right else cell.ljust(width)
        for cell, width, at_right in zip(cells, widths, right, strict=True)
    )
    return gap.join(padded).rstrip()


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int) or (isinstance(cell, float) and abs(cell) >= 1e6):
        return f"{cell:,.0f}"
    if isinstance(cell, float):
        return f"{cell:,.6g}"
    return "" if cell is None else str(cell)


def size(count: int) -> str:
    """A size as page sizes are written, in the largest binary unit that gives at least one: 4K, 2M, 1G."""
    unit, shift = [(unit, shift) for unit, shift in _UNITS.items() if count >> shift or not shift][-1]
    return f"{count >> shift}{unit}"


def bytes_of(text: str) -> int | None:
    """Bytes of a size like ``64M`` or ``4KiB``; None: it is not a size."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text)
    return int(match[1]) << _UNITS[match[2]] if match else None
