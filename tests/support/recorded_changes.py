"""Recorded permission changes of real kernels, replayed on the model of the direct map.

The format is that of the split recorder: one JSON object a line; ``meta`` with a walk of the whole direct map, then
cases of ``before``, ``op`` ..., ``after`` with walks of what they touched and the kernel's own split counters.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from replay.kernel import direct_map as maps
from replay.kernel.geometry import X86_64

# Bits of an x86-64 entry, packed into the model's attributes.
WRITE, DIRTY, ABSENT, NO_EXECUTE, UNCACHED, GLOBAL = 1, 2, 4, 8, 16, 32

# arch/x86/mm/pat/set_memory.c (6.12): what each call sets and clears. set_memory_ro() clears the dirty bit with the
# writable one; an entry that is not present loses the global bit, and set_memory_p() does not give it back.
CALLS = {
    "ro": (0, WRITE | DIRTY),
    "rw": (WRITE, 0),
    "np": (ABSENT, GLOBAL),
    "p": (0, ABSENT),
    "uc": (UNCACHED, 0),
    "wb": (0, UNCACHED),
    "x": (0, NO_EXECUTE),
    "nx": (NO_EXECUTE, 0),
    "rox": (0, WRITE | DIRTY | NO_EXECUTE),
}


class Operation(NamedTuple):
    call: str
    pfn: int
    pages: int
    recorded: tuple[int, int]
    predicted: tuple[int, int]
    needed: int


def _attributes(raw: int) -> int:
    return (
        (WRITE if raw & 2 else 0)
        | (DIRTY if raw & 1 << 6 else 0)
        | (0 if raw & 1 else ABSENT)
        | (NO_EXECUTE if raw >> 63 else 0)
        | (UNCACHED if raw & 1 << 4 else 0)
        | (GLOBAL if raw & 1 << 8 else 0)
    )


def _lay(d: maps.DirectMap, walk: list[Any]) -> None:
    """Set levels and attributes as a walk of the real page tables found them."""
    for first, last, level, _, raw in walk:
        bits = _attributes(int(raw, 16))
        if level == maps.PUD:
            d.attr_pud[first >> 18 : (last >> 18) + 1] = bits
        elif level == maps.PMD:
            d.attr_pmd[first >> 9 : (last >> 9) + 1] = bits
        else:
            d.attr_pte[first : last + 1] = bits
        d.level[first >> 9 : (last >> 9) + 1] = max(level, maps.PTE)


def replayed(path: Path) -> list[Operation]:
    """Every operation of a file that the kernel carried out, with recorded and predicted (2M, 1G) splits."""
    with pa.input_stream(str(path), compression="zstd") as stream:
        lines = [json.loads(line) for line in stream.read().decode().splitlines()]
    pages = lines[0]["max_pfn"]
    d = maps.direct_map(np.ones(pages, np.bool_), np.full(pages >> 9, maps.PTE, np.uint8), X86_64)
    _lay(d, lines[0]["map"])
    operations = []
    for line in lines[1:]:
        if line["t"] == "before":
            for region in line["regions"]:
                _lay(d, region["walk"])
        if line["t"] != "op" or line["rc"] != 0:
            continue
        if line["op"] not in CALLS:  # set_memory_4k() splits by force: what it left is taken from the walk
            _lay(d, line["after"])
            continue
        set_bits, clear_bits = CALLS[line["op"]]
        needed = int(maps.tables_needed(d, line["pfn"], line["npages"], set_bits, clear_bits))
        before = int(d.counts[maps.SPLITS])
        maps.apply(d, line["pfn"], line["npages"], set_bits, clear_bits, 0, 0)
        levels = d.log[before : d.counts[maps.SPLITS], 2]
        predicted = int((levels == maps.PMD).sum()), int((levels == maps.PUD).sum())
        recorded = line["d_l2s"], line["d_l3s"]
        operations.append(Operation(line["op"], line["pfn"], line["npages"], recorded, predicted, needed))
        _lay(d, line["after"])
    return operations
