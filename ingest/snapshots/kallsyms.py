"""Kernel symbols: from /proc/kallsyms, and from the addresses of stacks to the names of functions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.classify import without_tracer
from ingest.source import DAMAGE, read_whole
from ingest.trace import Findings
from ptpool.errors import UsageError

LONGEST = 64 << 20  # bytes of kallsyms text; a kernel has about 10 MB
FARTHEST = 1 << 20  # bytes from the start of a function; beyond, an address belongs to none

ENOUGH = 8  # stacks by which symbols are judged

_BOUND = re.compile(rb"^(?:0x)?([0-9a-f]{8}|[0-9a-f]{16}) [tT] (_text|_stext|_etext)$", re.MULTILINE)
_TEXT_SYMBOL = re.compile(rb"^(?:0x)?([0-9a-f]{8}|[0-9a-f]{16}) [tTwW] ([^\s$]\S*)", re.MULTILINE)

_AT_PAGE_EVENT = re.compile(
    r"alloc_(frozen_)?pages|free_\w*(page|folio|pcp)|free_unref|mm_page_|release_pages|folio_put|rmqueue"
)
"""Functions with the tracepoints of page events, and of the tracer (mm/page_alloc.c, 2.6.32 to 7.0)."""
_64_BITS = (1 << 64) - 1


@dataclass(frozen=True)
class Symbols:
    """Functions by address; where several begin at one, the first of the file (kernel/kallsyms.c:get_symbol_pos)."""

    addresses: NDArray[np.uint64]  # rising
    names: list[str]  # without their module
    bounds: Mapping[str, int] = field(default_factory=dict)  # addresses of _text, _stext and _etext
    hidden: bool = False  # whether the file has names without addresses only (kernel.kptr_restrict)

    def moved(self, symbol: str, address: int) -> "Symbols":
        """The symbols of the same kernel booted so that one of `bounds` lies at an address (KASLR).

        Its modules move by unknown amounts; they are left out where the kernel has moved.
        """
        there = self.bounds.get(symbol, address)
        if there == address:
            return self
        inside = slice(*np.searchsorted(self.addresses, np.array([there, self.bounds.get("_etext", there)], np.uint64)))
        moved = self.addresses[inside] + np.uint64(address - there & _64_BITS)  # modulo 2^64
        return Symbols(moved, self.names[inside])

    def fit(self, innermost: NDArray[np.uint64]) -> bool:
        """Whether these can be the symbols of stacks of page events, by the addresses where those begin.

        Too few stacks show nothing.
        """
        if len(innermost) < ENOUGH or not self.names:
            return True
        return any(map(_AT_PAGE_EVENT.search, self.resolve(np.unique(innermost))))

    def resolve(self, addresses: NDArray[np.uint64]) -> list[str]:
        """The name of the function that holds each address; ``0x…`` for an address that is in none."""
        places = np.searchsorted(self.addresses, addresses, side="right") - 1
        if not len(self.addresses):
            return [hex(address) for address in addresses.tolist()]
        known = (places >= 0) & (addresses - self.addresses[places] < FARTHEST)
        return [
            self.names[place] if good else hex(address)
            for place, good, address in zip(places.tolist(), known.tolist(), addresses.tolist(), strict=True)
        ]

    def stacks(self, chains: Sequence[bytes], address: str) -> Iterator[tuple[str, ...]]:
        """Stacks of names, innermost first, without the tracer's own frames.

        Args:
            chains: the addresses of each stack.
            address: their numpy type, with its byte order.
        """
        size = np.dtype(address).itemsize
        names = iter(self.resolve(np.frombuffer(b"".join(chains), address).astype(np.uint64)))
        for chain in chains:
            yield without_tracer(list(islice(names, len(chain) // size)))


NONE = Symbols(np.zeros(0, np.uint64), [])


class Namer:
    """Names the stacks of one recording, by symbols that are given up when they turn out to be of another kernel.

    Args:
        symbols: of the recorded kernel, as somebody says.
        found: where doubts are counted.
    """

    def __init__(self, symbols: Symbols, found: Findings) -> None:
        self.symbols, self._found = symbols, found
        self._judged = False
        if symbols.hidden:
            found.counts["kallsyms_hidden"] = 1

    def stacks(self, chains: Sequence[bytes], address: str) -> Iterator[tuple[str, ...]]:
        """As `Symbols.stacks`."""
        size = np.dtype(address).itemsize
        self.judge(np.frombuffer(b"".join(chain[:size] for chain in chains), address).astype(np.uint64))
        return self.symbols.stacks(chains, address)

    def move(self, symbol: str, address: int) -> None:
        """Move the symbols, as `Symbols.moved`."""
        moved = self.symbols.moved(symbol, address)
        if moved is not self.symbols:
            self._found.counts["kallsyms_moved"] = 1
        self.symbols = moved

    def judge(self, innermost: NDArray[np.uint64]) -> None:
        """Give the symbols up if they do not fit the addresses where the first stacks begin."""
        if self._judged or len(innermost) < ENOUGH:
            return
        self._judged = True
        if not self.symbols.fit(innermost):
            self.symbols = NONE
            self._found.counts["kallsyms_elsewhere"] = 1
            self._found.counts.pop("kallsyms_moved", None)


def parse_symbols(text: bytes) -> Symbols:
    """Read kallsyms text: its functions; none where the kernel hid the addresses (kernel.kptr_restrict)."""
    found = _TEXT_SYMBOL.findall(text)
    digits = [address for address, _ in found]
    values = np.frombuffer(bytes.fromhex(b"".join(address.zfill(16) for address in digits).decode()), ">u8")
    shown = np.flatnonzero(values)
    addresses, first = np.unique(values[shown].astype(np.uint64), return_index=True)
    bounds = {name.decode(): int(address, 16) for address, name in _BOUND.findall(text) if address.strip(b"0")}
    names = [found[place][1].decode("utf-8", "replace") for place in shown[first].tolist()]
    return Symbols(addresses, names, bounds, hidden=bool(found) and not names)


def read_symbols(path: Path) -> Symbols:
    """Read a kallsyms file, plain or compressed.

    Raises:
        UsageError: it cannot be read, is damaged, or holds no symbols.
    """
    try:
        text = read_whole(path, LONGEST)
    except DAMAGE as error:
        raise UsageError(f"{path}: the compressed data is damaged or cut off ({error})", "copy it again") from error
    if len(text) > LONGEST or not re.match(rb"[0-9a-f]+ \S \S", text):
        raise UsageError(f"{path}: it holds no kernel symbols", "copy /proc/kallsyms of the recorded machine, as root")
    return parse_symbols(text)
