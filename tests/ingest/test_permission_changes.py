"""Permission changes of the direct map, from text as Linux 6.12 wrote it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.snapshots.permission_changes import PermissionChange, read_changes

BASE = "page_offset_base=0xffff888000000000"
TEXT = f"""\
# tracer: nop
#
# entries-in-buffer/entries-written: 14/17   #P:2
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
          insmod-139     [000] .....     4.100791: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffffffffc0218000 set=0x0 clear=0x42 pages=1 flags=0x0 {BASE}
          insmod-139     [000] .....     4.103896: <stack trace>
 => __change_page_attr_set_clr
 => set_memory_ro
          insmod-139     [000] .....     4.104251: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffff888005865000 set=0x0 clear=0x42 pages=1 flags=0x1 {BASE}
            load-140     [001] .....     4.104260: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffff888005867000 set=0x0 clear=0x43 pages=3 flags=0x8 {BASE}
          insmod-139     [000] .....     4.104273: <stack trace>
 => __change_page_attr_set_clr
 => change_page_attr_set_clr
 => set_memory_ro
            load-140     [001] .....     4.104280: <stack trace>
 => __change_page_attr_set_clr
 => set_direct_map_invalid_noflush
 => secretmem_fault
          insmod-139     [000] .....     4.104466: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffff888005854000 set=0x0 clear=0x0 pages=1 flags=0x0 {BASE}
          insmod-139     [000] .....     4.104474: <stack trace>
 => __change_page_attr_set_clr
           a b-c-141     [001] .....     5.000001: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffff888007fff000 set=0x8000000000000003 clear=0x0 pages=1 flags=0x0
           a b-c-141     [001] .....     5.000002: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0xffff888008000000 set=0x3 clear=0x0 pages=1 flags=0x0
           a b-c-141     [001] .....     5.000003: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=0x0 set=0x10 clear=0x0 pages=8 flags=0x4 {BASE}
           a b-c-141     [001] .....     5.000004: permission_change: (__change_page_attr_set_clr+0x0/0xf70) address=(fault) set=0x10 clear=0x0 pages=8 flags=0x0 {BASE}
"""
MEMORY_END = 0x8000


def test_changes_of_the_direct_map_with_their_stacks() -> None:
    found = read_changes(TEXT, MEMORY_END)
    assert found.changes == [
        PermissionChange(4_104_251_000, 0, 139, 0x5865, 1, 0, 0x42, ("__change_page_attr_set_clr", "change_page_attr_set_clr", "set_memory_ro")),
        PermissionChange(4_104_260_000, 1, 140, 0x5867, 3, 0, 0x43, ("__change_page_attr_set_clr", "set_direct_map_invalid_noflush", "secretmem_fault")),
        PermissionChange(5_000_001_000, 1, 141, 0x7FFF, 1, 0x8000000000000003, 0, ()),
    ]  # fmt: skip
    assert (found.unplaced, found.lost) == (2, 3)


@pytest.mark.parametrize(
    "text", ["", "# tracer: nop\n", "garbage\n => f\n", "x-1 [000] ..... 1.000001: <stack trace>\n => f\n"]
)
def test_text_without_changes(text: str) -> None:
    assert read_changes(text, MEMORY_END).changes == []


def test_they_are_stored_with_the_capture(
    tmp_path: Path, ingest: Callable[..., int], query: Callable[[str], list[tuple[object, ...]]]
) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "zoneinfo").write_text(
        "Node 0, zone DMA32\n  pages free 1\n        spanned 32768\n  start_pfn: 0\n"
    )
    (tmp_path / "trace.txt").write_text(
        "  load-140 [001] ..... 4.2: mm_page_alloc: page=1 pfn=0x5867 order=0 migratetype=0 gfp_flags=GFP_KERNEL\n"
        "  load-140 [001] ..... 6.2: mm_page_free: page=1 pfn=0x5867 order=0\n"
    )
    (tmp_path / "permission_changes").write_text(TEXT)
    assert ingest(tmp_path, "--name", "whole") == 0
    assert query(
        "SELECT first_pfn, pages, set_bits, clear_bits, frames[2] FROM permission_change LEFT JOIN stack USING (capture_id, stack_id)"
        " ORDER BY ts_ns"
    ) == [
        (0x5865, 1, 0, 0x42, "change_page_attr_set_clr"),
        (0x5867, 3, 0, 0x43, "set_direct_map_invalid_noflush"),
        (0x7FFF, 1, 0x8000000000000003, 0, None),
    ]
    assert query("SELECT name, severity, value FROM import_stat WHERE name LIKE 'permission%' ORDER BY name") == [
        ("permission_changes_lost", "data_loss", 3),
        ("permission_changes_unplaced", "notice", 2),
    ]
    assert ingest(tmp_path, "--name", "part", "--from", "0.5s", "--to", "1s") == 2  # no event in it
    assert ingest(tmp_path, "--name", "part", "--from", "0.5s") == 0
    assert query("SELECT first_pfn FROM permission_change JOIN capture USING (capture_id) WHERE name = 'part'") == [
        (0x7FFF,)
    ]
