"""Permission changes of the direct map, by a kernel probe: those that split no leaf show in no page event.

The probed function makes all of them: what set_memory_*() was called for, the alias of a vmalloc or module page in the
direct map, and set_direct_map_*() (arch/x86/mm/pat/set_memory.c, seen on 6.1, 6.12 and 7.3). Other architectures have
none, and neither have kernels without kprobes. There are few: they have an instance of their own, written as text.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ingest.recorder.redact import Pseudonyms, redact_ftrace
from ingest.recorder.tracefs import Tracefs, write_setting

FILE = "permission_changes"

_FUNCTION = "__change_page_attr_set_clr"
# struct cpa_data since 4.20: vaddr, pgd, mask_set, mask_clr, numpages, curpage, pfn, flags.
_ARGUMENTS = (
    "address=+0(+0($arg1)):x64 set=+16($arg1):x64 clear=+24($arg1):x64 pages=+32($arg1):u64 flags=+56($arg1):x32"
)
_WHERE_THE_MAP_BEGINS = "page_offset_base=@page_offset_base:x64"  # moved by KASLR (arch/x86/mm/kaslr.c)
_EVENT = re.compile(r"^p\S*:(ptpool_(\d+)/permission_change) ", re.MULTILINE)


class PermissionChanges:
    """Records them while entered, where this kernel can.

    Args:
        tracefs: of this machine.
        clock: as tracefs names it: the clock of the page events.
    """

    def __init__(self, tracefs: Tracefs, clock: str) -> None:
        self._tracefs, self._clock = tracefs, clock
        self._event = f"ptpool_{os.getpid()}/permission_change"
        self._instance: Path | None = None

    @property
    def recorded(self) -> bool:
        """Whether they are."""
        return self._instance is not None

    def __enter__(self) -> "PermissionChanges":
        arguments = (f"{_ARGUMENTS} {_WHERE_THE_MAP_BEGINS}", _ARGUMENTS)
        if any(_tell(self._tracefs, f"p:{self._event} {_FUNCTION} {words}") for words in arguments):
            try:
                self._set_up(self._tracefs.create(self._name))
            except OSError:
                self.__exit__(None, None, None)
        return self

    @property
    def _name(self) -> str:
        return f"ptpool-{os.getpid()}-changes"

    def _set_up(self, instance: Path) -> None:
        for name, value in (
            ("tracing_on", "0"),
            ("options/stacktrace", "1"),
            ("trace_clock", self._clock),
            (f"events/{self._event}/enable", "1"),
        ):
            write_setting(instance / name, value)
        self._instance = instance

    def switch(self, on: bool) -> None:
        """Begin to record, or record no more."""
        if self._instance is not None:
            write_setting(self._instance / "tracing_on", "1" if on else "0")

    def write(self, folder: Path, pseudonyms: Pseudonyms | None) -> None:
        """Write what was recorded."""
        if self._instance is not None:
            text = (self._instance / "trace").read_text(errors="replace")
            (folder / FILE).write_text(redact_ftrace(text, pseudonyms) if pseudonyms else text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._instance = None
        with suppress(OSError):
            self._tracefs.remove(self._name)
        _tell(self._tracefs, f"-:{self._event}")


def sweep(tracefs: Tracefs) -> list[str]:
    """Remove the probes that crashed captures left behind, once no instance uses them; their names."""
    try:
        found = _EVENT.findall((tracefs.path / "kprobe_events").read_text())
    except OSError:
        return []
    return [event for event, pid in found if tracefs.is_gone(pid) and _tell(tracefs, f"-:{event}")]


def _tell(tracefs: Tracefs, command: str) -> bool:
    """Add or remove a probe; whether the kernel did."""
    try:
        file = os.open(tracefs.path / "kprobe_events", os.O_WRONLY | os.O_APPEND)  # to truncate would remove all probes
    except OSError:
        return False
    try:
        os.write(file, command.encode() + b"\n")
    except OSError:
        return False
    finally:
        os.close(file)
    return True
