"""A tracepoint's ``format`` text (tracefs ``events/*/*/format``): where its fields lie, and the names of its flags.

perf.data and trace.dat carry these texts of the recorded kernel, so no kernel's layout is built in
(kernel/trace/trace_events.c:f_show writes them; ``events/header_page`` has the same field lines).
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ptpool.errors import UsageError
from ptpool.vocabulary import GFP_BITS

LARGEST_RECORD = 1 << 16  # bytes; an event has to fit a page of the ring buffer
_REMEDY = "the file is damaged, or not written by a kernel: copy it again"

_FIELD = re.compile(r"^\s*field: *([^;]+);\s*offset: *(\d+);\s*size: *(\d+);(?:\s*signed: *(\d))?", re.MULTILINE)
_NAME = re.compile(r"(\w+)\s*(\[[^\]]*\])?\s*$")
_HEAD = re.compile(r"\s*name: (\S+)\s+ID: (\d+)\s+format:\s")


@dataclass(frozen=True)
class Field:
    """A field: its bytes within a record."""

    name: str
    offset: int
    size: int  # 0: an array that reaches to the end of the record
    signed: bool
    is_array: bool  # declared with brackets


@dataclass(frozen=True)
class Flags:
    """The table of a ``__print_flags``: masks with their names, in the order in which they are tried."""

    field: str
    delimiter: str
    names: tuple[tuple[int, str], ...]
    none: str  # what is printed for zero

    def text(self, value: int) -> str:
        """What the kernel prints (kernel/trace/trace_output.c:trace_print_flags_seq): bits without a name as 0x...."""
        words = []
        for mask, name in self.names:
            if mask and value & mask == mask:
                words.append(name)
                value &= ~mask
        if value:
            words.append(hex(value))
        return self.delimiter.join(words) or self.none


@dataclass(frozen=True)
class EventFormat:
    """One event: its number in a recording, its fields by name, and its ``print fmt``."""

    name: str
    id: int
    fields: dict[str, Field]
    print_fmt: str
    where: str

    def number(self, name: str) -> Field:
        """A field that holds one number.

        Raises:
            UsageError: the event has no such field, or it is no number.
        """
        field = self.fields.get(name)
        if field is None:
            raise UsageError(f"{self.where}: the format of {self.name} has no field {name}", _REMEDY)
        if field.is_array or field.size not in (1, 2, 4, 8):
            raise UsageError(f"{self.where}: field {name} of {self.name} is no number of 1 to 8 bytes", _REMEDY)
        return field

    def flags(self, name: str) -> Flags:
        """The names of a field's bits, by the ``__print_flags`` in ``print fmt``; no names where it has none.

        Raises:
            UsageError: the table cannot be understood.
        """
        return _flags(self.print_fmt, name, f"{self.where}: the flags of {self.name}")


def parse_fields(text: str, where: str) -> dict[str, Field]:
    """The ``field:`` lines of a text, by name.

    Raises:
        UsageError: a field lies outside any record.
    """
    fields = {}
    for declaration, offset, size, signed in _FIELD.findall(text):
        match = _NAME.search(declaration)
        if match is None or len(offset) > 9 or len(size) > 9 or int(offset) + int(size) > LARGEST_RECORD:
            raise UsageError(f"{where}: impossible field: {declaration.strip()[:60]}", _REMEDY)
        is_array = match[2] is not None or declaration.lstrip().startswith(("__data_loc", "__rel_loc"))
        fields[match[1]] = Field(match[1], int(offset), int(size), signed == "1", is_array)
    return fields


def parse_format(text: str, where: str) -> EventFormat:
    """Read one ``format`` text; messages begin with `where`, the file and the place in it.

    Raises:
        UsageError: it is no format text.
    """
    head = _HEAD.match(text)
    if head is None or len(head[2]) > 9:
        raise UsageError(f"{where}: no event format: {_shown(text)}", _REMEDY)
    description, _, print_fmt = text.partition("\nprint fmt: ")
    fields = parse_fields(description, where)
    if "common_type" not in fields:
        raise UsageError(f"{where}: the format of {head[1]} has no field common_type", _REMEDY)
    return EventFormat(head[1], int(head[2]), fields, print_fmt, where)


def _flags(print_fmt: str, field: str, where: str) -> Flags:
    start = re.search(rf'__print_flags(?:_u64)?\(REC->{re.escape(field)}, *"([^"]*)", *', print_fmt)
    if start is None:
        return Flags(field, "|", (), "none")
    names = []
    at = start.end()
    entry = re.compile(r'\s*,?\s*\{([^"{}]*),\s*(?:"([^"]*)"|[^"{},]*)\s*\}')  # the last may end with a null pointer
    while match := entry.match(print_fmt, at):
        at = match.end()
        if match[2] is not None:
            names.append((constant(match[1], where), match[2]))
    rest = re.compile(r'\s*\)\s*(?::\s*"([^"]*)")?').match(print_fmt, at)
    if rest is None:
        raise UsageError(f"{where}: not a flag with its name: {_shown(print_fmt[at:])}", _REMEDY)
    return Flags(field, start[1], tuple(names), rest[1] or "none")


_CAST = re.compile(r"\(\s*[a-z_][a-z0-9_]*(\s+[a-z_][a-z0-9_]*)*\s*\**\s*\)")
_NUMBER = re.compile(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b")
_OPERATOR = re.compile(r"<<|>>|[|&^~()+-]")
_GFP_BIT = re.compile(r"_(__GFP_\w+)_BIT")
_MOST_OPERATORS = 500
_64_BITS = (1 << 64) - 1
_APPLY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
    ast.LShift: lambda value, bits: value << min(bits, 64),
    ast.RShift: operator.rshift,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
}


def constant(expression: str, where: str) -> int:
    """The value of a C constant expression as preprocessed headers leave it: numbers, casts, shifts and bit operators.

    Kernels 6.10 to 6.13 leave the names of bits in it (``___GFP_IO_BIT``, include/linux/gfp_types.h), since enums were
    not translated for user space; they are those of the vocabulary. These operators bind in Python as they do in C.

    Raises:
        UsageError: it is something else.
    """
    if len(_OPERATOR.findall(expression)) > _MOST_OPERATORS:
        raise UsageError(f"{where}: a constant nested too deep", _REMEDY)
    try:
        text = _NUMBER.sub(lambda match: str(int(match[1], 16 if "x" in match[1].lower() else 10)), expression)
        return _value(ast.parse(" ".join(_CAST.sub(" ", text).split()), mode="eval").body, where)
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{where}: not a constant: {_shown(expression)}", _REMEDY) from error


def _value(node: ast.expr, where: str) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        value = node.value
    elif isinstance(node, ast.Name):
        bit = _GFP_BIT.fullmatch(node.id)
        if bit is None or bit[1] not in GFP_BITS:
            raise UsageError(f"{where}: unknown constant {_shown(node.id)}", _REMEDY)
        value = GFP_BITS[bit[1]].bit_length() - 1
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert | ast.USub):
        value = _value(node.operand, where)
        value = ~value if isinstance(node.op, ast.Invert) else -value
    elif isinstance(node, ast.BinOp) and type(node.op) in _APPLY:
        value = _APPLY[type(node.op)](_value(node.left, where), _value(node.right, where))
    else:
        raise ValueError(ast.dump(node))
    return value & _64_BITS


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.strip()[:60])
