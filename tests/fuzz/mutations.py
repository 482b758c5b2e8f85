"""Mutations of files that know what such files are made of: lines and numbers of text, words and lengths of binary data."""

import re
from collections.abc import Callable
from random import Random

NUMBERS = (
    b"0", b"1", b"-1", b"127", b"128", b"255", b"32768", b"65535", b"65536", b"2147483647", b"2147483648", b"4294967295",
    b"4294967296", b"1099511627776", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 30, b"7" * 4400,
    b"0x0", b"0xffffffffffffffff", b"0x1" + b"0" * 16, b"ffffffffffffffff", b"1" + b"0" * 17, b"1e999", b"nan", b"",
)  # fmt: skip
WORDS = (
    b"\0", b"\x1b[2J", b"\xff", b"\xc2\xa0", b"\xef\xbb\xbf", b"\r", b"\t", b" ", b"=", b":", b"[", b"]", b"(", b"-", b"|",
    b"#", b"\xe2\x80\xa8", b"\x0c", b"\xf0\x9f\x90\xa7", b"=\n", b"> ", b"'", b'"', b"<stack trace>", b" => ",
    b"mm_page_alloc: ", b"(null)", b"\xed\xa0\x80", b"...", b"\\ud800", b"[" * 1200,
)  # fmt: skip
VALUES = (
    0, 1, 2, 3, 4, 7, 8, 9, 16, 64, 127, 128, 255, 256, 4095, 4096, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
    1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 8,
)  # fmt: skip

_NUMBER = re.compile(rb"(?<![0-9a-f])(?:0x)?[0-9a-f]*[0-9][0-9a-f]*")
Mutation = Callable[[bytes, Random], bytes]


def _place(data: bytes, random: Random) -> int:
    return random.randrange(len(data) + 1)


def cut_off(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def flip(data: bytes, random: Random) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def insert(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.choice(WORDS) * random.choice((1, 1, 1, 2, 40)) + data[at:]


def drop(data: bytes, random: Random) -> bytes:
    at, length = _place(data, random), random.choice((1, 1, 2, 4, 8, 16, 300))
    return data[:at] + data[at + length :]


def number(data: bytes, random: Random) -> bytes:
    """Another number in the place of one."""
    found = [match.span() for match in _NUMBER.finditer(data)]
    if not found:
        return data
    first, last = random.choice(found)
    old = data[first:last]
    near = (old[:-1], old + old[-1:], old + b"0", b"-" + old, b"9" * len(old), old[::-1], b"0" + old, b"0" * len(old))
    return data[:first] + random.choice(random.choice((NUMBERS, near))) + data[last:]


def _lines(change: Callable[[list[bytes], Random], None]) -> Mutation:
    def mutated(data: bytes, random: Random) -> bytes:
        lines = data.splitlines(keepends=True)
        if lines:
            change(lines, random)
        return b"".join(lines)

    return mutated


@_lines
def drop_line(lines: list[bytes], random: Random) -> None:
    del lines[random.randrange(len(lines))]


@_lines
def double_line(lines: list[bytes], random: Random) -> None:
    at = random.randrange(len(lines))
    lines[at:at] = [lines[at]] * random.choice((1, 1, 1, 30))


@_lines
def swap_lines(lines: list[bytes], random: Random) -> None:
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


@_lines
def join_lines(lines: list[bytes], random: Random) -> None:
    at = random.randrange(len(lines))
    lines[at] = lines[at].rstrip(b"\r\n")


@_lines
def break_line(lines: list[bytes], random: Random) -> None:
    at = random.randrange(len(lines))
    place = _place(lines[at], random)
    lines[at] = lines[at][:place] + b"\n" + lines[at][place:]


@_lines
def a_few_lines(lines: list[bytes], random: Random) -> None:
    first = random.randrange(len(lines))
    del lines[first + random.choice((1, 2, 5, 20, 60)) :], lines[:first]


@_lines
def mix_words(lines: list[bytes], random: Random) -> None:
    """A word of one line in the place of one of another."""
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    words, others = re.split(rb"( +)", lines[one]), lines[other].split()
    if others:
        words[random.randrange(len(words))] = random.choice(others)
    lines[one] = b" ".join(words) if random.random() < 0.1 else b"".join(words)


def value(data: bytes, random: Random) -> bytes:
    """Another value in the place of a word of 1, 2, 4 or 8 bytes, in either byte order."""
    size = random.choice((1, 2, 4, 4, 8))
    at = _place(data, random) & -random.choice((1, size))
    order = random.choice(("little", "little", "big"))
    old = int.from_bytes(data[at : at + size], order)
    new = random.choice((random.choice(VALUES), old + 1, old - 1, old + 8, old - 8, old * 2, old >> 1))
    return data[:at] + (new & (1 << 8 * size) - 1).to_bytes(size, order) + data[at + size :]


def _block(data: bytes, random: Random) -> tuple[int, int]:
    first = _place(data, random) & -random.choice((1, 4, 8, 8, 4096))
    return first, first + random.choice((1, 4, 8, 8, 16, 64, 104, 512, 4096))


def drop_block(data: bytes, random: Random) -> bytes:
    first, last = _block(data, random)
    return data[:first] + data[last:]


def double_block(data: bytes, random: Random) -> bytes:
    first, last = _block(data, random)
    return data[:last] + data[first:last] * random.choice((1, 1, 20)) + data[last:]


def clear_block(data: bytes, random: Random) -> bytes:
    first, last = _block(data, random)
    return data[:first] + random.choice((b"\0", b"\xff")) * len(data[first:last]) + data[last:]


def move_block(data: bytes, random: Random) -> bytes:
    first, last = _block(data, random)
    at = _place(data, random) & -8
    return data[:at] + data[first:last] + data[at + last - first :]


TEXT: tuple[Mutation, ...] = (
    cut_off, flip, insert, drop, number, number, number, drop_line, double_line, swap_lines, join_lines, break_line,
    a_few_lines, a_few_lines, mix_words,
)  # fmt: skip
NUMERIC: tuple[Mutation, ...] = (number, number, number, number, number, drop_line, double_line, swap_lines, mix_words)
"""Those after which a text is most often still one of its kind."""
BINARY: tuple[Mutation, ...] = (
    cut_off, flip, flip, value, value, value, value, drop_block, double_block, clear_block, move_block, insert,
)  # fmt: skip


def is_text(data: bytes) -> bool:
    """Whether a file is one of text, by its beginning."""
    return b"\0" not in data[:64] and all(byte < 0x80 or byte > 0xA0 for byte in data[:64])


def mutated(
    files: dict[str, bytes], changed: list[str], random: Random, text: tuple[Mutation, ...] = TEXT
) -> dict[str, bytes]:
    """The files with one to five mutations in those named; `text` are those of text."""
    files = dict(files)
    for _ in range(1 + min(int(random.expovariate(1)), 4)):
        name = random.choice(changed)
        files[name] = random.choice(text if is_text(files[name]) else BINARY)(files[name], random)
    return files


def smaller(files: dict[str, bytes]) -> list[dict[str, bytes]]:
    """The files without parts of one of them, the largest parts first: halves, quarters, ... of its lines or bytes."""
    found = []
    for parts in (2, 4, 8, 16, 32, 64):
        for name, data in files.items():
            pieces = (
                data.splitlines(keepends=True)
                if is_text(data)
                else [data[at : at + 8] for at in range(0, len(data), 8)]
            )
            step = -(-len(pieces) // parts)
            if step:
                cuts = range(0, len(pieces), step)
                found += [{**files, name: b"".join(pieces[:at] + pieces[at + step :])} for at in cuts]
    return found
