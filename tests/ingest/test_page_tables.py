"""Direct maps in the three forms in which a kernel shows them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.snapshots.page_tables import page_tables
from ingest.snapshots.proc import MalformedError

X86 = """\
---[ User Space ]---
0x0000000000000000-0xffff800000000000    16777088T                               pgd
---[ Low Kernel Mapping ]---
0xffff978000000000-0xffff978000098000         608K     RW                 GLB NX pte
0xffff978000098000-0xffff978000099000           4K     ro                 GLB NX pte
0xffff978000099000-0xffff978000200000        1436K     RW                 GLB NX pte
0xffff978000200000-0xffff978040000000        1022M     RW         PSE     GLB NX pmd
0xffff978040000000-0xffff9780c0000000           2G     RW         PSE     GLB NX pud
0xffff9780c0000000-0xffff978100000000           1G                               pud
0xffff978100000000-0xffff978140000000           1G     RW         PSE     GLB NX pud
---[ vmalloc() Area ]---
0xffffb20000000000-0xffffb20000001000           4K     RW                 GLB NX pte
"""
X86_ROWS = [
    (0, 151, "pte"),
    (152, 152, "pte"),
    (153, 511, "pte"),
    (512, 262143, "pmd"),
    (262144, 786431, "pud"),
    (1048576, 1310719, "pud"),
]

ARM64 = """\
---[ Linear Mapping start ]---
0xffff000000000000-0xffff000000200000           2M PMD   TBL     RW x NXTbl UXNTbl    MEM/NORMAL
0xffff000000000000-0xffff000000200000           2M PTE       RW NX SHD AF    CON     UXN    MEM/NORMAL-TAGGED
0xffff000000200000-0xffff000002400000          34M PMD       ro NX SHD AF        BLK UXN    MEM/NORMAL
0xffff000040000000-0xffff000080000000           1G PUD       RW NX SHD AF        BLK UXN    MEM/NORMAL-TAGGED
0xffff000080000000-0xffff008000000000         510G PUD
---[ Linear Mapping end ]---
---[ Modules start ]---
0xffff800000000000-0xffff800000001000           4K PTE       ro x  SHD AF            UXN    MEM/NORMAL
"""
RAM = 0x40000
ARM64_ROWS = [(RAM, RAM + 511, "pte"), (RAM + 512, RAM + 9215, "pmd"), (RAM + 262144, RAM + 524287, "pud")]

WALK = """\
> map
PAGE_OFFSET ffff888000000000 max_pfn 200000
  pfn 0..97 608 KiB L1 PW-G 8000000000000163
  pfn 98..1ff 1440 KiB L1 Pr-G 8000000000000121
  pfn 200..3fff 63488 KiB L2 PW-G 80000000000001e3
  pfn 4000..3ffff 983040 KiB L0 -rX 0
  pfn 40000..7ffff 1048576 KiB L3 PW-G 80000000000001e3
tot KiB none 983040 4K 2048 2M 63488 1G 1048576
"""
WALK_ROWS = [(0, 0x97, "pte"), (0x98, 0x1FF, "pte"), (0x200, 0x3FFF, "pmd"), (0x40000, 0x7FFFF, "pud")]


@pytest.mark.parametrize(
    ("text", "rows"), [(X86, X86_ROWS), (ARM64, ARM64_ROWS), (WALK, WALK_ROWS)], ids=["x86", "arm64", "walk"]
)
def test_runs_of_leaves(text: str, rows: list[tuple[int, int, str]]) -> None:
    assert page_tables(text.splitlines(), 4096, RAM) == rows


def test_arm64_addresses_count_in_pages_of_the_machine() -> None:
    (row, *_) = page_tables(ARM64.splitlines(), 65536, 0x4000)
    assert row == (0x4000, 0x4000 + 31, "pte")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        X86.replace("0xffff978000098000-", "0xfff-"),
        ARM64.replace("34M PMD", "PMD"),
        WALK + "and more",
        X86.replace("00098000 ", "00098000" + "0" * 16 + " "),
        WALK.replace("..97", ".." + "9" * 17),
        WALK.replace("98..1ff", "1ff..98"),
    ],
    ids=["empty", "other text", "backwards", "no size", "garbage", "huge address", "huge page", "pages backwards"],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        page_tables(text.splitlines(), 4096, RAM)


def test_arm64_needs_iomem() -> None:
    with pytest.raises(MalformedError, match="iomem"):
        page_tables(ARM64.splitlines(), 4096, None)


def test_a_bundle_with_page_tables(
    tmp_path: Path, ingest: Callable[..., int], query: Callable[[str], Sequence[tuple[Any, ...]]]
) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "before").mkdir(parents=True)
    (bundle / "trace.txt").write_text(
        "# tracer: nop\n  sh-1 [000] ..... 1.0: mm_page_alloc: page=0 pfn=0x40001 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
    )
    (bundle / "iomem").write_text("40000000-bfffffff : System RAM\n")
    (bundle / "uname").write_text("Linux m 6.18.1 #1 SMP aarch64 GNU/Linux\n")
    (bundle / "cpuinfo").write_text(
        "processor\t: 0\nCPU implementer\t: 0xc0\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xac3\nCPU revision\t: 1\n"
    )
    (bundle / "before" / "kernel_page_tables").write_text(ARM64)
    (bundle / "before" / "meminfo").write_text("Hugepagesize:       2048 kB\n")
    assert ingest(bundle) == 0
    assert query("SELECT first_pfn, last_pfn, level::VARCHAR FROM direct_map_recorded ORDER BY 1") == ARM64_ROWS
    assert query("SELECT name, value FROM snapshot_value WHERE source = 'cpuinfo'") == [("cpu 0, midr", 0xC000AC31)]
