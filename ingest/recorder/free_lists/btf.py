"""How the running kernel lays out its structs: its own type information (BTF version 1, Documentation/bpf/btf.rst).

Read from /sys/kernel/btf/vmlinux, which kernels with CONFIG_DEBUG_INFO_BTF have: Debian's 6.1, 6.12 and 7.3 were tried.
"""

import struct
from collections.abc import Iterator

from ingest.recorder.free_lists.errors import UnreadableError

_MAGIC, _VERSION = 0xEB9F, 1
_ENUM, _ENUM64, _STRUCTS = 6, 19, (4, 5)
_TRANSPARENT = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag
_FIXED = {1: 1, 3: 3, 14: 1, 17: 1}  # words after the three of every type, by kind: int, array, var, decl tag
_EACH = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}  # words for each member: struct, union, enum, function, section, enum64
_DEEPEST = 32  # typedefs of typedefs, structs in structs: more are a circle


class Btf:
    """Structs and enums by name.

    Args:
        data: the file.

    Raises:
        UnreadableError: it is not BTF, or has a type that this does not know.
    """

    def __init__(self, data: bytes) -> None:
        try:
            magic, version, _, header, types, types_size, strings, strings_size = struct.unpack_from("<HBBIIIII", data)
        except struct.error:
            magic = version = 0
        if (magic, version) != (_MAGIC, _VERSION) or len(data) < header + max(
            types + types_size, strings + strings_size
        ):
            raise UnreadableError("the kernel's BTF is cut off, or not of version 1")
        self._strings = data[header + strings : header + strings + strings_size]
        self._words = memoryview(data)[header + types :][: types_size & ~3].cast("I")
        self._starts = [0]  # type 0 is void
        self._named: dict[int, list[int]] = {}  # structs and enums by the place of their name
        at, kinds = 0, (*_STRUCTS, _ENUM, _ENUM64)
        while at + 2 < len(self._words):
            info = self._words[at + 1]
            kind = info >> 24 & 31
            if kind in kinds:
                self._named.setdefault(self._words[at], []).append(len(self._starts))
            self._starts.append(at)
            at += 3 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)

    def _name(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _kind(self, number: int) -> int:
        return self._words[self._starts[number] + 1] >> 24 & 31

    def _types(self, name: str, kinds: tuple[int, ...]) -> list[int]:
        at = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        return [number for number in self._named.get(at, []) if at and self._kind(number) in kinds]

    def _members(self, number: int, words: int) -> Iterator[int]:
        """Where each member of a struct, or each value of an enum, begins."""
        start = self._starts[number]
        return iter(range(start + 3, start + 3 + words * (self._words[start + 1] & 0xFFFF), words))

    def _member(self, number: int, name: str, depth: int = 0) -> tuple[int, int] | None:
        """Offset in bytes and type of a member, also of one in a struct or union without a name."""
        fields = self._words[self._starts[number] + 1] >> 31  # then an offset has the width of a bit field above it
        for at in self._members(number, 3):
            own, inner, bits = self._words[at : at + 3]
            for _ in range(_DEEPEST):
                if not inner or self._kind(inner) not in _TRANSPARENT:
                    break
                inner = self._words[self._starts[inner] + 2]
            offset = (bits & 0xFFFFFF if fields else bits) // 8
            if own and self._name(own) == name:
                return offset, inner
            if not own and depth < _DEEPEST and self._kind(inner) in _STRUCTS:
                found = self._member(inner, name, depth + 1)
                if found is not None:
                    return offset + found[0], found[1]
        return None

    def _find(self, structure: str, *members: str) -> tuple[int, int]:
        for member in members:
            for number in self._types(structure, _STRUCTS):
                if found := self._member(number, member):
                    return found
        raise UnreadableError(f"struct {structure} has no {' nor '.join(members)}")

    def offset(self, structure: str, *members: str) -> int:
        """Offset of the first of these members that there is, bytes.

        Raises:
            UnreadableError: there is none.
        """
        return self._find(structure, *members)[0]

    def length(self, structure: str, member: str, most: int) -> int:
        """Elements of a member that is an array.

        Raises:
            UnreadableError: there is no such member, or it has more than `most` elements.
        """
        elements = self._words[self._starts[self._find(structure, member)[1]] + 5]
        if not 0 < elements <= most:
            raise UnreadableError(f"struct {structure} has {elements} {member}")
        return elements

    def size(self, structure: str) -> int:
        """Size of a struct, bytes.

        Raises:
            UnreadableError: there is none.
        """
        sizes = [self._words[self._starts[number] + 2] for number in self._types(structure, _STRUCTS)]
        if not max(sizes, default=0):
            raise UnreadableError(f"there is no struct {structure}")
        return max(sizes)

    def enum(self, name: str) -> dict[str, int]:
        """Values of an enum by name; empty where there is none."""
        return {
            self._name(self._words[at]): self._words[at + 1]
            for number in self._types(name, (_ENUM, _ENUM64))
            for at in self._members(number, 3 if self._kind(number) == _ENUM64 else 2)
        }
