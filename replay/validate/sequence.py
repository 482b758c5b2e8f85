"""Recorded permission changes of a real x86-64 or arm64 kernel, repeated on the model of the direct map.

The format is that of the split recorder (data/splits/README.txt): one JSON object per line. ``meta`` has a walk of the
whole direct map; the cases that follow (``before``, ``op`` ..., ``after``) have walks of what they touched, and the
kernel's own counters of splits and collapses. arm64 has no such counters, so only the walks are compared.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ptpool.errors import UsageError
from replay.kernel import direct_map as maps
from replay.kernel.geometry import ARM64_4K, X86_64
from replay.kernel.set_memory_x86 import ENTRY_BITS

CALLS = {
    "ro": (maps.READ_ONLY | maps.CLEAN, 0),
    "rw": (0, maps.READ_ONLY),
    "np": (maps.NOT_PRESENT, 0),
    "p": (0, maps.NOT_PRESENT),
    "uc": (maps.UNCACHED, 0),
    "wb": (0, maps.UNCACHED),
    "x": (maps.EXECUTABLE, 0),
    "nx": (0, maps.EXECUTABLE),
    "rox": (maps.READ_ONLY | maps.CLEAN | maps.EXECUTABLE, 0),
    "4k": (maps.KERNEL_4K, 0),
    "invalid": (maps.NOT_PRESENT, 0),
    "valid": (0, maps.NOT_PRESENT),
}
"""What set_memory_<name>() sets and clears (arch/x86/mm/pat/set_memory.c, 6.18); the last two are arm64's
set_memory_valid(), which takes a bool (arch/arm64/mm/pageattr.c, 6.18)."""

VMSTAT = tuple(f"direct_map_level{level}_{what}" for what in ("splits", "collapses") for level in (2, 3))
"""The kernel's own counters; those of collapses came with CPA_COLLAPSE (6.15)."""

_GREW = ("d_l2s", "d_l3s", "d_l2c", "d_l3c")

_PRESENT, _RW, _DIRTY = 1, 1 << 1, 1 << 6
_RAW_SET = ((1 << 4, maps.UNCACHED), (1 << 11, maps.KERNEL_4K))
_ARM64_CLEAR = ((1, maps.NOT_PRESENT), (1 << 53, maps.EXECUTABLE))  # PTE_VALID, PTE_PXN
_ALL, _CONTIGUOUS = 0xFF, 1 << 8
"""The attributes of the model, and arm64's hint, which the model keeps apart."""
_ARM64_SET = ((1 << 7, maps.READ_ONLY), (1 << 52, _CONTIGUOUS))  # PTE_RDONLY, PTE_CONT
_MOST_PAGES, _LONGEST_LINE = 1 << 28, 1 << 28


class Operation(NamedTuple):
    """One permission change that the kernel carried out, with the prediction of the model."""

    line: int
    call: str
    pfn: int
    pages: int
    recorded: tuple[int, ...]
    """Splits of 2M and 1G leaves, collapses to 2M and 1G leaves."""
    predicted: tuple[int, ...]
    needed: int
    """Page tables that `tables_needed` returned."""
    walk: str
    """The first page where the walk afterwards differs, in words; empty: none does."""

    @property
    def agrees(self) -> bool:
        """Whether counters, plan and walk are all as recorded."""
        return self.recorded == self.predicted and self.needed == sum(self.predicted[:2]) and not self.walk

    def __str__(self) -> str:
        said = "{} 2M and {} 1G splits, {} and {} collapses"
        plan = f" (planned with {self.needed} tables)" if self.needed != sum(self.predicted[:2]) else ""
        return (
            f"set_memory_{self.call}() of {self.pages} pages at pfn {self.pfn}: predicted "
            f"{said.format(*self.predicted)}{plan}; recorded {said.format(*self.recorded)}"
            + (f"; {self.walk}" if self.walk else "")
        )


@dataclass
class Sequence:
    """One file, replayed."""

    path: Path
    kernel: str
    start: tuple[int, ...]
    """The four counters before the first operation; -1: the kernel has no such counter."""
    compared: int
    """Attributes that this kernel and the model keep alike."""
    operations: list[Operation] = field(default_factory=list)
    refused: int = 0
    """Operations that the kernel itself refused (a return code other than 0); they changed nothing."""
    strays: list[str] = field(default_factory=list)
    """Walks at the end of a case that differ from the model, in words."""

    @property
    def mismatches(self) -> int:
        """Operations, and walks at the end of a case, that are not as recorded."""
        return sum(not operation.agrees for operation in self.operations) + len(self.strays)

    @property
    def first_mismatch(self) -> str:
        """In words; empty if everything agrees."""
        wrong = [f"line {operation.line}: {operation}" for operation in self.operations if not operation.agrees]
        return next(iter(wrong + self.strays), "")

    def counters(self) -> list[tuple[str, int, int, int]]:
        """Each vmstat counter that the kernel has: its name, its value before, after, and as predicted."""
        rows = []
        for place, name in enumerate(VMSTAT):
            before = self.start[place]
            if before >= 0:
                after = before + sum(operation.recorded[place] for operation in self.operations)
                predicted = before + sum(operation.predicted[place] for operation in self.operations)
                rows.append((name, before, after, predicted))
        return rows


def replay_sequence(path: Path) -> Sequence:
    """Repeat every operation of a file on the model, and compare counters and walks after each.

    After an operation that differs, the model takes over the recorded state: an error counts once.

    Raises:
        UsageError: not a file of recorded permission changes; it names the line.
    """
    lines = _lines(path)
    try:
        number, meta = next(lines)
    except StopIteration:
        raise _unusable(path, 1, "the file is empty") from None
    cases = 0
    try:
        model, sequence = _start(path, meta)
        for number, line in lines:
            kind = line["t"]
            if kind == "op":
                model = _operation(model, sequence, number, line, pud_leaves=meta["directmap_kb"][2] >= 0)
            elif kind == "before":
                for region in line["regions"]:
                    _lay(model, region["walk"])  # the kernel's own changes between two cases
            elif kind == "after":
                cases += 1
                for region in line["regions"]:
                    if difference := _difference(model, region["walk"], sequence.compared):
                        sequence.strays.append(f"line {number}: at the end of case {line['case']}, {difference}")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _unusable(path, number, f"{type(error).__name__}: {error}") from None
    if cases != meta["cases"]:
        raise _unusable(path, number, f"the file ends after {cases} of {meta['cases']} cases")
    return sequence


def _unusable(path: Path, line: int, what: str) -> UsageError:
    return UsageError(
        f"{path}, line {line}: not a recorded sequence of permission changes ({what})",
        "the format is described in data/splits/README.txt",
    )


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        with (
            pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as stream,
            io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8") as text,
        ):
            while True:
                number += 1
                if not (line := text.readline(_LONGEST_LINE)):
                    return
                yield number, json.loads(line)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", "name files of recorded permission changes") from None
    except (ValueError, RecursionError) as error:
        raise _unusable(path, number, str(error)) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({str(error).splitlines()[0]})", "check the file") from None


def _start(path: Path, meta: dict[str, Any]) -> tuple[maps.DirectMap, Sequence]:
    if meta["t"] != "meta":
        raise ValueError("the first line is not the meta line")
    pages = int(meta["max_pfn"])
    if not 0 < pages <= _MOST_PAGES:
        raise ValueError(f"max_pfn {pages} is not within 1 to {_MOST_PAGES}")
    mapped = np.ones(pages, np.bool_)
    for first, last, level, *_ in meta["map"]:
        if level == 0:
            mapped[first : last + 1] = False
    geometry = ARM64_4K if meta.get("machine") == "aarch64" else X86_64
    pieces = -(-pages >> geometry.table_shift)
    model = maps.direct_map(mapped, np.full(pieces, maps.PTE, np.uint8), geometry)
    _lay(model, meta["map"])
    counters = tuple(int(meta["counters"][name]) for name in ("l2s", "l3s", "l2c", "l3c"))
    compared = _ALL | _CONTIGUOUS
    if counters[2] < 0:
        compared &= ~maps.KERNEL_4K  # the mark came with CPA_COLLAPSE
    raws = [int(run[4], 16) for run in meta["map"]]
    if not model.arm64 and any(raw & (_PRESENT | _RW | _DIRTY) == _PRESENT | _DIRTY for raw in raws):
        compared &= ~maps.CLEAN  # read-only memory is dirty: a kernel before 6.6, whose set_memory_ro() leaves the bit
    return model, Sequence(path, str(meta["kernel"]), counters, compared)


def _operation(
    model: maps.DirectMap, sequence: Sequence, number: int, line: dict[str, Any], *, pud_leaves: bool
) -> maps.DirectMap:
    call, pfn, pages = line["op"], int(line["pfn"]), int(line["npages"])
    if line["rc"] != 0:
        sequence.refused += 1
        return model
    if call not in CALLS:
        raise ValueError(f"no operation is named {call}; there are {' '.join(CALLS)}")
    if not 0 <= pfn < pfn + pages <= len(model.mapped):
        raise ValueError(f"{pages} pages at pfn {pfn} are outside the direct map")
    collapses = sequence.start[2] >= 0  # direct_map_level2_collapses is there: the kernel has CPA_COLLAPSE
    set_bits, clear_bits = CALLS[call]
    set_bits &= sequence.compared | maps.KERNEL_4K  # which asks for 4K pages, whether or not the kernel marks them
    needed = int(maps.tables_needed(model, pfn, pages, set_bits, clear_bits))
    model = maps.with_room(model, needed + (pages >> model.table_shift) + 4 << 1)
    before = len(maps.logged(model))
    changed = maps.apply(model, pfn, pages, set_bits, clear_bits, 0, 0)
    if call == "rox" and collapses and changed:
        maps.collapse(model, pfn, pages, pud_leaves, 0, 0)
    rows = maps.logged(model)[before:]
    predicted = tuple(
        int(((rows[:, 2] == level) & (rows[:, 4] == action)).sum())
        for action in (maps.SPLIT, maps.COLLAPSE)
        for level in (maps.PMD, maps.PUD)
    )
    recorded = tuple(
        int(line[name]) if start >= 0 else made  # without a counter, only the walk is compared
        for name, start, made in zip(_GREW, sequence.start, predicted, strict=True)
    )
    walk = _difference(model, line["after"], sequence.compared)
    sequence.operations.append(Operation(number, call, pfn, pages, recorded, predicted, needed, walk))
    if walk:
        _lay(model, line["after"])
    return model


def _attributes(raw: int, *, arm64: bool) -> int:
    attributes = 0
    for bit, attribute in _ARM64_CLEAR if arm64 else ENTRY_BITS:
        attributes |= 0 if raw & bit else attribute
    for bit, attribute in _ARM64_SET if arm64 else _RAW_SET:
        attributes |= attribute if raw & bit else 0
    return attributes


def _lay(model: maps.DirectMap, walk: list[Any]) -> None:
    """Set levels and attributes to those of a walk of the real page tables; a hole (level 0) is left as it is."""
    for first, last, level, _, raw in walk:
        bits = _attributes(int(raw, 16), arm64=model.arm64)
        if level == maps.PUD:
            model.attr_pud[first >> 18 : (last >> 18) + 1] = bits & _ALL
        elif level == maps.PMD:
            model.attr_pmd[first >> 9 : (last >> 9) + 1] = bits & _ALL
        elif level == maps.PTE:
            model.attr_pte[first : last + 1] = bits & _ALL
        elif level != 0:
            raise ValueError(f"level {level} in a walk")
        model.level[first >> 9 : (last >> 9) + 1] = max(level, maps.PTE)
        for hints, leaf, shift in _hints(model):
            hints[first >> shift : (last >> shift) + 1] = level == leaf and bits & _CONTIGUOUS


def _difference(model: maps.DirectMap, walk: list[Any], compared: int) -> str:
    """The first run of pages whose leaf or attributes are not as the walk found them, in words."""
    for first, last, level, _, raw in walk:
        if level == 0:
            continue
        levels, attributes = _found(model, first, last)
        recorded = _attributes(int(raw, 16), arm64=model.arm64) & compared
        wrong = np.flatnonzero((levels != level) | (attributes & compared != recorded))
        if len(wrong):
            at = int(wrong[0])
            return (
                f"pfn {first + at} is predicted at level {levels[at]} with attributes {attributes[at]:#04x}, "
                f"walked at level {level} with {recorded:#04x}"
            )
    return ""


def _found(model: maps.DirectMap, first: int, last: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Level and attributes of each page from `first` to `last`, the contiguous hint among them."""
    pages = np.arange(first, last + 1)
    level = model.level[pages >> 9]
    by_leaf = np.where(level == maps.PUD, model.attr_pud[pages >> 18], model.attr_pmd[pages >> 9])
    attributes = np.where(level == maps.PTE, model.attr_pte[pages], by_leaf).astype(np.uint16)
    for hints, leaf, shift in _hints(model):
        attributes[(level == leaf) & hints[pages >> shift]] |= _CONTIGUOUS
    return level, attributes


def _hints(model: maps.DirectMap) -> tuple[tuple[NDArray[np.bool_], int, int], ...]:
    """Contiguous hints, the level of the leaves that carry them, and log2 of the pages of a group."""
    pmd_group = model.table_shift + model.cont_pmd_shift
    return (model.cont_pte, maps.PTE, model.cont_pte_shift), (model.cont_pmd, maps.PMD, pmd_group)
