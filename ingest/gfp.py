"""GFP flags as a trace has them, in the numbers that ptpool stores, by the release of the recorded kernel.

Names mean the same in all releases, numbers do not: ingest/gfp.toml has them, with sources.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ptpool.releases import version_of
from ptpool.vocabulary import GFP_BITS, gfp_flags

Release = tuple[int, int]

_NO_TABLE = GFP_BITS["__GFP_HARDWALL"]  # GFP_USER
_NUMBER = re.compile(r"(0x[0-9a-fA-F]{1,16})|\d{1,20}")


@dataclass(frozen=True)
class Flags:
    """What the flags of a kernel mean.

    Attributes:
        numbers: the stored bits of each bit of a mask, by its place; None: not known, read as those of 6.12.
        table: stored bits that an allocation of a user page table has; 0: nothing tells it from others.
    """

    numbers: tuple[int | None, ...] | None
    table: int

    def decode(self, text: str) -> tuple[int, list[str]]:
        """Decode what a trace prints after ``gfp_flags=``.

        Returns:
            The bits as stored, and the words and bits whose meaning is not known.
        """
        bits, unknown = 0, []
        for word in map(str.strip, text.split("|")):
            number = _NUMBER.fullmatch(word)
            if number and self.numbers is not None:
                known, rest = _translated(int(word, 16 if number[1] else 10), self.numbers)
                unknown += [hex(rest)] if rest else []
            else:
                known, words = gfp_flags(word)
                if words:
                    known = _older_names().get(word, 0)
                    unknown += [] if word in _older_names() else words
            bits |= known
        return bits, unknown

    def is_table(self, bits: int) -> bool:
        """Whether a user page table may have asked for it: an unmovable page of order 0 with these flags."""
        return bool(self.table) and bits & (self.table | _NO_TABLE) == self.table


def flags_of(release: str | None, arch: str | None) -> Flags:
    """What the flags of a kernel mean, by its release (as uname has it) and architecture; None: not known."""
    return _flags(version_of(release), arch)


def has_numbers(text: str) -> bool:
    """Whether a part of the text is a number, not a name."""
    return any(_NUMBER.fullmatch(word.strip()) for word in text.split("|"))


@cache
def _flags(kernel: Release | None, arch: str | None) -> Flags:
    if kernel is None:
        return Flags(None, _bits("ZERO ACCOUNT"))
    numbers = next((_numbers(row["flags"]) for row in _rows("numbering", kernel)), ())
    tables = (row for row in _rows("page_table", kernel) if arch is None or arch in row.get("arch", [arch]))
    return Flags(numbers, next((_bits(row["flags"]) for row in tables), 0))


def _translated(mask: int, numbers: tuple[int | None, ...]) -> tuple[int, int]:
    """The stored bits of a mask, and those of its bits that mean nothing known."""
    bits, rest = 0, mask
    for place, meaning in enumerate(numbers):
        if mask >> place & 1 and meaning is not None:
            bits |= meaning
            rest &= ~(1 << place)
    return bits, rest


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads(files("ingest").joinpath("gfp.toml").read_text(encoding="utf-8"))


def _rows(table: str, kernel: Release) -> Iterator[dict[str, Any]]:
    """The rows that hold for a release."""
    for row in _document()[table]:
        until = version_of(row.get("until"))
        if (version_of(row["since"]) or kernel) <= kernel and (until is None or kernel < until):
            yield row


def _numbers(flags: str) -> tuple[int | None, ...]:
    return tuple(None if name == "-" else _bits(name) for name in flags.split())


def _bits(names: str) -> int:
    """Stored bits of flags without their leading ``__GFP_``."""
    older, bits = _document()["older"], 0
    for name in names.split():
        bits |= _bits(older[name]) if name in older else GFP_BITS[f"__GFP_{name}"]
    return bits


@cache
def _older_names() -> dict[str, int]:
    """Bits by names that 6.12 does not print: flags that are gone, and all flags as kernels before 4.6 spelled them."""
    gone = _document()["older"]
    names = {name: _bits(name) for name in gone if name.startswith("GFP_")}
    for name in gone.keys() - names.keys():
        names |= dict.fromkeys((f"GFP_{name}", f"__GFP_{name}"), _bits(name))
    return {name.removeprefix("__"): bits for name, bits in GFP_BITS.items()} | names
