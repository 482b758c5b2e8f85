"""Bytes at an address, for the compiled readers: load them, find one, and number every distinct text.

A block of bytes is passed as its address (an integer: counting references to an array in every helper costs more than
the work). Nothing in here allocates. Words are loaded little-endian: x86-64 and arm64.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ptpool.compiled import compiled

from llvmlite import ir  # type: ignore[import-untyped]  # isort: skip  (numba reads its settings on import: ptpool.compiled has to come first)
from numba import types  # isort: skip
from numba.core import cgutils as _cgutils  # isort: skip
from numba.extending import intrinsic  # isort: skip

cgutils: Any = _cgutils  # has no types

NAME = np.dtype([("hash", np.uint64), ("start", np.int64), ("end", np.int64), ("number", np.int64)])
"""A slot of an open-addressing table that numbers texts in order of first appearance, by their 64-bit hash.

Where the text lies is an offset into the block that brought it; number -1 is an empty slot.
"""


def new_names(slots: int) -> NDArray[np.void]:
    """An empty table of `NAME`; `slots` is a power of two."""
    table = np.zeros(slots, NAME)
    table["number"] = -1
    return table


def new_spans(table: NDArray[np.void], known: int) -> list[tuple[int, int]]:
    """Start and end of the texts that are numbered from `known` on, in order."""
    fresh = table[table["number"] >= known]
    fresh = fresh[np.argsort(fresh["number"])]
    return list(zip(fresh["start"].tolist(), fresh["end"].tolist(), strict=True))


def _typed_intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast("Callable[..., Any]", intrinsic(function))


@_typed_intrinsic
def load1(typing: Any, text: Any, offset: Any) -> Any:  # noqa: ARG001
    """The byte at an offset."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = builder.inttoptr(builder.add(*_int64s(context, builder, signature, arguments)), ir.IntType(8).as_pointer())
        return builder.zext(builder.load(at), ir.IntType(64))

    return types.int64(text, offset), generate


@_typed_intrinsic
def load8(typing: Any, text: Any, offset: Any) -> Any:  # noqa: ARG001
    """The 8 bytes at an offset as one uint64, unaligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = builder.add(*_int64s(context, builder, signature, arguments))
        return builder.load(builder.inttoptr(at, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(text, offset), generate


@_typed_intrinsic
def find_byte(typing: Any, text: Any, byte: Any, start: Any, end: Any) -> Any:  # noqa: ARG001
    """Offset of a byte in [start, end), or `end`: the C library's memchr, many bytes a cycle."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        text, byte, start, end = _int64s(context, builder, signature, arguments)
        pointer, word, length = ir.IntType(8).as_pointer(), ir.IntType(32), ir.IntType(64)
        memchr = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(pointer, [pointer, word, length]), "memchr"
        )
        at = builder.inttoptr(builder.add(text, start), pointer)
        found = builder.call(memchr, [at, builder.trunc(byte, word), builder.sub(end, start)])
        offset = builder.sub(builder.ptrtoint(found, length), text)
        return builder.select(cgutils.is_null(builder, found), end, offset)

    return types.int64(text, byte, start, end), generate


def _int64s(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    return [
        context.cast(builder, value, kind, types.int64) for value, kind in zip(arguments, signature.args, strict=True)
    ]


_MULTIPLY, _OTHER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_FOLD = np.uint64(29)
_ONE = np.uint64(1)


@compiled
def hash_span(text: int, start: int, end: int) -> Any:
    """64-bit hash of the bytes [start, end)."""
    value, other = np.uint64(end - start) * _MULTIPLY, _MULTIPLY
    at = start
    while at + 16 <= end:  # two words at a time, as a product takes longer than a load
        value = (value ^ load8(text, at)) * _MULTIPLY
        value ^= value >> _FOLD
        other = (other ^ load8(text, at + 8)) * _OTHER
        other ^= other >> _FOLD
        at += 16
    value ^= other
    while at + 8 <= end:
        value = (value ^ load8(text, at)) * _MULTIPLY
        value ^= value >> _FOLD
        at += 8
    if at < end:
        value = (value ^ (load8(text, at) & ((_ONE << np.uint64(8 * (end - at))) - _ONE))) * _MULTIPLY
        value ^= value >> _FOLD
    return value


@compiled
def mixed(first: int, second: int) -> Any:
    """64-bit hash of two integers; of one alone, with the other fixed, it is a different one for each."""
    value = np.uint64(first) * _MULTIPLY
    value = ((value ^ (value >> _FOLD)) ^ np.uint64(second)) * _MULTIPLY
    return value ^ (value >> _FOLD)


@compiled
def slot_of(names: Any, key: Any) -> Any:
    """The slot of a 64-bit key: the one that holds it, or the empty one where it belongs."""
    mask = names.shape[0] - 1
    slot = np.int64(key >> np.uint64(20)) & mask
    while names[slot].number >= 0 and names[slot].hash != key:
        slot = (slot + 1) & mask
    return slot


@compiled
def enter(names: Any, named: Any, which: int, key: Any, start: int, end: int) -> Any:
    """Number of the text with this key; a new one is entered with its place in the block."""
    slot = slot_of(names, key)
    if names[slot].number < 0:
        names[slot].hash = key
        names[slot].number = named[which]
        names[slot].start = start
        names[slot].end = end
        named[which] += 1
    return names[slot].number


@compiled
def intern(names: Any, named: Any, which: int, text: int, start: int, end: int) -> Any:
    """Number of the text [start, end)."""
    return enter(names, named, which, hash_span(text, start, end), start, end)


def doubled(table: NDArray[np.void]) -> NDArray[np.void]:
    """A table of twice as many slots with the same names."""
    larger = new_names(2 * len(table))
    _reenter(table, larger)
    return larger


@compiled
def _reenter(old: Any, new: Any) -> None:
    for place in range(old.shape[0]):
        if old[place].number >= 0:
            slot = slot_of(new, old[place].hash)
            new[slot].hash = old[place].hash
            new[slot].number = old[place].number
