"""Stacks: from the text of a trace to frames, and from frames to the consumer of the page, by ingest/rules.toml."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

Class = tuple[str, str | None, str | None]
"""Consumer, level and role."""

UNCLASSIFIED: Class = ("other", None, None)
BY_FLAGS: Class = ("pgtable_user", None, None)

_TRACER = ("trace_event_", "__traceiter_", "perf_trace_", "__probestub_", "__bpf_trace_", "bpf_trace_run", "ftrace_")
_ADDRESS = re.compile(r"[0-9a-f]{16}")
_ALIGNED = re.compile(r"\s(?=.{16}$) *[0-9a-f]+")  # a tab and %16lx
_BARE_ADDRESS = re.compile(r"[0-9a-f]{8}|[0-9a-f]{16}")
_UNRESOLVED = re.compile(r"0x[0-9a-f]{1,16}")
_BYTE = re.compile(r"\b[0-9a-f]{2}\b")
_SUFFIX = re.compile(r"\.(constprop|isra|part|cold|llvm)\b.*$")


def frames_of(text: str) -> tuple[str, ...]:
    """Function names of a stack as ftrace or perf script prints it, innermost first.

    The tracer's own frames, offsets and modules are dropped; a frame without a symbol stays an address.
    """
    if text.startswith("["):  # trace-cmd report -R: the bytes of the first addresses
        words = bytes(int(byte, 16) for byte in _BYTE.findall(text))
        return tuple(map(hex, np.frombuffer(words[: len(words) // 8 * 8], "<u8").tolist()))
    frames = []
    for line in text.splitlines():
        _, arrow, rest = line.partition("=> ")
        if arrow:  # ftrace: symbol, and in trace-cmd report (address)
            name = rest.split(" ", 1)[0].strip("<>()")
            name = f"0x{name}" if _BARE_ADDRESS.fullmatch(name) else name
        else:  # perf: address symbol (object), any of them left out by -F; between them lines of the source
            address, _, rest = line.strip().partition(" ")
            if not _ADDRESS.fullmatch(address) and not _ALIGNED.fullmatch(line[:17]):
                if not line.startswith("\t"):
                    continue
                address, rest = "", line.strip()
            name = rest.split(" (", 1)[0].strip()
            if name in ("", "[unknown]"):
                name = f"0x{address}" if address else "[unknown]"
        frames.append(name.split("+0x", 1)[0])
    return without_tracer(frames)


def is_address(frame: str) -> bool:
    """Whether a frame has no symbol."""
    return _UNRESOLVED.fullmatch(frame) is not None


def has_names(frames: Sequence[str]) -> bool:
    """Whether any frame of a stack has a symbol (perf script prints ``[unknown]`` for one without)."""
    return not all(is_address(frame) or frame == "[unknown]" for frame in frames)


def without_tracer(frames: Sequence[str]) -> tuple[str, ...]:
    """The frames, innermost first, without the tracer's own at their start."""
    first = next((i for i, frame in enumerate(frames) if not frame.startswith(_TRACER)), len(frames))
    return tuple(frames[first:])


@dataclass(frozen=True)
class StackRule:
    """One rule of ingest/rules.toml."""

    symbols: tuple[str, ...]
    result: Class
    caller: tuple[str, ...]
    callee: tuple[str, ...]
    within: tuple[str, ...]

    def holds(self, frames: Sequence[str], place: int) -> bool:
        """Whether the rule's conditions hold for the frame at `place`, whose name is one of its symbols."""
        outside, inside = frames[place + 1 : place + 2], frames[max(place - 1, 0) : place]
        return (
            (not self.caller or _any_matches(outside, self.caller))
            and (not self.callee or _any_matches(inside, self.callee))
            and (not self.within or _any_matches(frames[place + 1 :], self.within))
        )


def _any_matches(frames: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(frame, pattern) for frame in frames for pattern in patterns)


@cache
def rules() -> dict[str, list[StackRule]]:
    """The rules by symbol, in the order of the file."""
    document: dict[str, Any] = tomllib.loads(files("ingest").joinpath("rules.toml").read_text(encoding="utf-8"))
    by_symbol: dict[str, list[StackRule]] = {}
    for entry in document["rule"]:
        rule = StackRule(
            tuple(entry["symbols"]),
            (entry["consumer"], entry.get("level"), entry.get("role")),
            tuple(entry.get("caller", ())),
            tuple(entry.get("callee", ())),
            tuple(entry.get("within", ())),
        )
        for symbol in rule.symbols:
            by_symbol.setdefault(symbol, []).append(rule)
    return by_symbol


def classify(frames: Sequence[str]) -> Class:
    """The consumer of the page: by the first rule that holds, from the innermost frame outward."""
    bare = [_SUFFIX.sub("", frame) for frame in frames]
    for place, frame in enumerate(bare):
        for rule in rules().get(frame, ()):
            if rule.holds(bare, place):
                return rule.result
    return UNCLASSIFIED
