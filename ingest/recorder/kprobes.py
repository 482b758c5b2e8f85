"""A kernel probe on permission changes of the direct map: those that split no leaf show in no page event.

The probed function makes all of them: what set_memory_*() was called for, the alias of a vmalloc or module page in the
direct map, and set_direct_map_*() (arch/x86/mm/pat/set_memory.c, seen on 6.1, 6.12 and 7.3). Elsewhere there is none.
"""

import os
import re
from types import TracebackType

from ingest.recorder.tracefs import Tracefs

GROUP, EVENT = "ptpool", "permission_change"
"""Of the probe in a bundle; while it lives, its group is ptpool_PID."""

# struct cpa_data since 4.20: vaddr, pgd, mask_set, mask_clr, numpages, curpage, pfn, flags.
_ARGUMENTS = (
    "address=+0(+0($arg1)):x64 set=+16($arg1):x64 clear=+24($arg1):x64 pages=+32($arg1):u64 flags=+56($arg1):x32"
)
_WHERE_THE_MAP_BEGINS = "page_offset_base=@page_offset_base:x64"  # moved by KASLR (arch/x86/mm/kaslr.c)


class Kprobes:
    """The probes that this kernel takes, while entered; none where it has no kprobes.

    Args:
        tracefs: of this machine.
    """

    def __init__(self, tracefs: Tracefs) -> None:
        self._tracefs, self._list = tracefs, tracefs.path / "kprobe_events"
        self._name = f"{GROUP}_{os.getpid()}/{EVENT}"
        self.events: list[str] = []

    def sweep(self) -> list[str]:
        """Remove the probes that crashed captures left behind; their names."""
        try:
            found = re.findall(rf"^p\S*:({GROUP}_(\d+)/{EVENT}) ", self._list.read_text(), re.MULTILINE)
        except OSError:
            return []
        return [name for name, pid in found if self._tracefs.is_gone(pid) and self._tell(f"-:{name}")]

    def __enter__(self) -> "Kprobes":
        function = "__change_page_attr_set_clr"
        for arguments in (f"{_ARGUMENTS} {_WHERE_THE_MAP_BEGINS}", _ARGUMENTS):
            if self._tell(f"p:{self._name} {function} {arguments}"):
                self.events.append(self._name)
                break
        return self

    def _tell(self, command: str) -> bool:
        try:
            file = os.open(self._list, os.O_WRONLY | os.O_APPEND)  # to truncate it would remove everybody's probes
        except OSError:
            return False
        try:
            os.write(file, command.encode() + b"\n")
        except OSError:
            return False
        finally:
            os.close(file)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for event in self.events:
            self._tell(f"-:{event}")
