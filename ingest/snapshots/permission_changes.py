"""Permission changes of the direct map, as ingest capture records them: text of ftrace with stacks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.classify import frames_of

_ENTRY = re.compile(
    r" *(?P<comm>.*)-(?P<pid>\d{1,9}) +\[(?P<cpu>\d{1,4})\] +\S+ +(?P<s>\d{1,9})\.(?P<us>\d{6}): (?P<words>.*)"
)
_CHANGE = re.compile(
    r"permission_change: .* address=(?P<address>0x[0-9a-f]{1,16}|\(fault\))"
    r" set=0x(?P<set>[0-9a-f]{1,16}) clear=0x(?P<clear>[0-9a-f]{1,16})"
    r" pages=(?P<pages>\d{1,18}) flags=0x(?P<flags>[0-9a-f]{1,16})(?: page_offset_base=0x(?P<base>[0-9a-f]{1,16}))?"
)
_ANNOUNCED = re.compile(r"entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})\b")
_PAGE_OFFSET = "ffff888000000000"  # without KASLR (Documentation/arch/x86/x86_64/mm.rst)
_ARRAY = 0x2 | 0x4  # CPA_ARRAY, CPA_PAGES_ARRAY: the pages are in an array that the probe does not see
_PAGE = 4096


@dataclass(frozen=True)
class PermissionChange:
    """One change of pages of the direct map: the page-table bits it set and cleared, and its stack."""

    ts_ns: int
    cpu: int
    pid: int
    first_pfn: int
    pages: int
    set_bits: int
    clear_bits: int
    frames: tuple[str, ...]


@dataclass
class PermissionChanges:
    """The permission changes of a recording, in order of time."""

    changes: list[PermissionChange] = field(default_factory=list)
    unplaced: int = 0  # changes whose pages the recording does not say
    lost: int = 0  # entries that were overwritten


def read_changes(text: str, memory_end: int) -> PermissionChanges:
    """Read the text; changes outside the direct map, or of no bit, are left out.

    Args:
        text: of tracefs's trace, kernel/trace/trace_kprobe.c:print_kprobe_event.
        memory_end: the page after the machine's last one.
    """
    found = PermissionChanges()
    if match := _ANNOUNCED.search(text):
        found.lost = int(match[2]) - int(match[1])
    for entry, frames in _entries(text.splitlines()):
        change = _CHANGE.match(entry["words"])
        if change is None:
            continue
        bits = int(change["set"], 16), int(change["clear"], 16)
        if int(change["flags"], 16) & _ARRAY or change["address"] == "(fault)":
            found.unplaced += any(bits)
            continue
        pfn = (int(change["address"], 16) - int(change["base"] or _PAGE_OFFSET, 16)) // _PAGE
        if any(bits) and 0 <= pfn < pfn + int(change["pages"]) <= memory_end:
            time = int(entry["s"]) * 10**9 + int(entry["us"]) * 1000
            found.changes.append(
                PermissionChange(time, int(entry["cpu"]), int(entry["pid"]), pfn, int(change["pages"]), *bits, frames)
            )
    return found


def _entries(lines: list[str]) -> Iterator[tuple[re.Match[str], tuple[str, ...]]]:
    """Entries with the stack that the same CPU printed after it."""
    waiting: dict[str, re.Match[str]] = {}
    cpu, stack = "", []
    for line in [*lines, ""]:
        if line.startswith(" => "):
            stack.append(line)
            continue
        if stack and cpu in waiting:
            yield waiting.pop(cpu), frames_of("\n".join(stack))
        stack = []
        if entry := _ENTRY.match(line):
            cpu = entry["cpu"]
            if entry["words"] != "<stack trace>":
                if cpu in waiting:
                    yield waiting.pop(cpu), ()
                waiting[cpu] = entry
    for entry in waiting.values():
        yield entry, ()
