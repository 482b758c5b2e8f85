import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.snapshots.kallsyms import FARTHEST, parse_symbols, read_symbols
from ptpool.errors import UsageError

KALLSYMS = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000100 t __pte_alloc
ffffffff81000180 d some_data
ffffffff81000180 t $x
ffffffff81000200 W weak_one.constprop.0
ffffffffc0000000 t module_code\t[kvm]
ffffffffc0400000 t bpf_prog_6deef7357e7b4530\t[bpf]
"""


def names(*addresses: int, text: bytes = KALLSYMS) -> list[str]:
    return parse_symbols(text).resolve(np.array(addresses, np.uint64))


def test_resolve() -> None:
    assert names(0xFFFFFFFF81000000, 0xFFFFFFFF810000FF, 0xFFFFFFFF81000100, 0xFFFFFFFF810001FF) == [
        "startup_64",
        "startup_64",
        "__pte_alloc",
        "__pte_alloc",
    ]
    assert names(0xFFFFFFFF81000200, 0xFFFFFFFFC0000010, 0xFFFFFFFFC0400001) == [
        "weak_one.constprop.0",
        "module_code",
        "bpf_prog_6deef7357e7b4530",
    ]
    assert names(0x7F0000001234, 0xFFFFFFFF81000200 + FARTHEST, 0xFFFFFFFFFFFFFFFF) == [
        "0x7f0000001234",
        "0xffffffff81100200",
        "0xffffffffffffffff",
    ]


def test_hidden_or_32_bits() -> None:
    hidden = "".join(f"0000000000000000 {line[17:]}\n" for line in KALLSYMS.decode().splitlines()).encode()
    assert len(parse_symbols(hidden).names) == 0
    assert names(0xC0101000, text=hidden) == ["0xc0101000"]
    assert names(0xC0101004, text=b"c0100000 T stext\nc0101000 T pte_alloc_one\n") == ["pte_alloc_one"]


def test_files(tmp_path: Path) -> None:
    plain, packed = tmp_path / "kallsyms", tmp_path / "kallsyms.gz"
    plain.write_bytes(KALLSYMS)
    packed.write_bytes(gzip.compress(KALLSYMS))
    assert read_symbols(packed).names == read_symbols(plain).names == parse_symbols(KALLSYMS).names
    packed.write_bytes(gzip.compress(KALLSYMS)[:-10])
    with pytest.raises(UsageError, match="damaged or cut off"):
        read_symbols(packed)
    plain.write_bytes(b"Dear all,\n")
    with pytest.raises(UsageError, match="no kernel symbols"):
        read_symbols(plain)


@given(st.lists(st.integers(1, 1 << 20), max_size=20), st.lists(st.integers(0, (1 << 20) + 100), max_size=20))
def test_against_a_walk(starts: list[int], asked: list[int]) -> None:
    text = "".join(f"{start:016x} t f{place}\n" for place, start in enumerate(starts)).encode()

    def walk(address: int) -> str:
        below = [(start, -place) for place, start in enumerate(starts) if start <= address]
        return f"f{-max(below)[1]}" if below and address - max(below)[0] < FARTHEST else hex(address)

    assert names(*asked, text=text) == [walk(address) for address in asked]
