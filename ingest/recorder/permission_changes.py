"""Permission changes of the direct map, by a kernel probe: a change that splits no leaf causes no page event.

The probed function makes all of them: those of set_memory_*(), of the alias of a vmalloc or module page in the direct
map, and of set_direct_map_*() (arch/x86/mm/pat/set_memory.c, seen on 6.1, 6.12 and 7.3). Other architectures and
kernels without kprobes have no such probe. The events are few: they have an instance of their own, written as text.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from ingest.recorder.redact import Pseudonyms, redact_ftrace
from ingest.recorder.tracefs import Tracefs, write_setting

FILE = "permission_changes"

_FUNCTION = "__change_page_attr_set_clr"
# struct cpa_data since 4.20: vaddr, pgd, mask_set, mask_clr, numpages, curpage, pfn, flags.
_ARGUMENTS = (
    "address=+0(+0($arg1)):x64 set=+16($arg1):x64 clear=+24($arg1):x64 pages=+32($arg1):u64 flags=+56($arg1):x32"
)
_MAP_BASE = "page_offset_base=@page_offset_base:x64"  # moved by KASLR (arch/x86/mm/kaslr.c)
_EVENT = re.compile(r"^p\S*:(ptpool_(\d+)/permission_change) ", re.MULTILINE)


class PermissionChangeRecorder:
    """Records permission changes while entered, where this kernel can, with the clock of the page events."""

    def __init__(self, tracefs: Tracefs, clock: str) -> None:
        self._tracefs, self._clock = tracefs, clock
        self._event = f"ptpool_{os.getpid()}/permission_change"
        self._instance: Path | None = None

    @property
    def recorded(self) -> bool:
        """Whether they are recorded."""
        return self._instance is not None

    def __enter__(self) -> "PermissionChangeRecorder":
        arguments = (f"{_ARGUMENTS} {_MAP_BASE}", _ARGUMENTS)
        if any(_set_probe(self._tracefs, f"p:{self._event} {_FUNCTION} {words}") for words in arguments):
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
        """Start or stop recording."""
        if self._instance is not None:
            write_setting(self._instance / "tracing_on", "1" if on else "0")

    def write(self, folder: Path, pseudonyms: Pseudonyms | None) -> None:
        """Write what was recorded."""
        if self._instance is not None:
            text = (self._instance / "trace").read_text(errors="replace")
            (folder / FILE).write_text(redact_ftrace(text, pseudonyms) if pseudonyms else text)

    def __exit__(self, *_: object) -> None:
        self._instance = None
        with suppress(OSError):
            self._tracefs.remove(self._name)
        _set_probe(self._tracefs, f"-:{self._event}")


def sweep(tracefs: Tracefs) -> list[str]:
    """Remove the probes that crashed captures left behind, once no instance uses them; returns their names."""
    try:
        found = _EVENT.findall((tracefs.path / "kprobe_events").read_text())
    except OSError:
        return []
    return [event for event, pid in found if tracefs.is_gone(pid) and _set_probe(tracefs, f"-:{event}")]


def _set_probe(tracefs: Tracefs, command: str) -> bool:
    """Add or remove a probe; False: the kernel refused."""
    try:
        write_setting(
            tracefs.path / "kprobe_events", f"{command}\n", os.O_APPEND
        )  # to truncate would remove all probes
    except OSError:
        return False
    return True
