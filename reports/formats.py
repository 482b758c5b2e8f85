"""How numbers are written in tables, sentences and figures: one function per unit."""

from collections.abc import Callable, Mapping
from typing import Any

LEAF_NAMES = {
    4096: {"4K": "4K", "2M": "2M", "1G": "1G"},
    16384: {"4K": "16K", "2M": "32M", "1G": "64G"},
    65536: {"4K": "64K", "2M": "512M", "1G": "4T"},
}
"""Sizes of leaves by page size in bytes; queries and figures use the names of 4K pages."""


def number(value: float) -> str:
    """A whole number in full with thousands separators, any other with three significant digits."""
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """A share of one as a percentage with three significant digits, never rounded to 100 % or 0 %."""
    if 0.9995 <= share < 1 - 1e-9:  # anything nearer to 1 is float noise
        return "> 99.9 %"
    return "< 0.001 %" if 0 < share < 1e-5 else f"{100 * share:.3g} %"


def points(value: float) -> str:
    """A number that is already a percentage."""
    return f"{value:.2f} %"


def size(count: float) -> str:
    """Bytes in the largest binary unit that leaves at least one, with three digits: ``16.1 MiB``."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while abs(count) >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{number(count)} {units[0]}"


def duration(ns: float) -> str:
    """Nanoseconds in a unit that leaves at least one."""
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= scale:
            return f"{ns / scale:.3g} {unit}"
    return f"{number(ns)} ns"


def count(value: float, one: str, many: str = "") -> str:
    """A number with its noun: ``1 refill``, ``31 refills``, ``no refills``."""
    noun = one if value == 1 else many or one + "s"
    return f"{'no' if value == 0 else number(value)} {noun}"


def listed(words: list[str], last: str = "and") -> str:
    """Words as an English list: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def span(values: Mapping[str, float], said: Callable[[float], str] = number) -> str:
    """From the least to the most, each with its name: ``58 (self-split) to 128 (generic)``."""
    least, most = min(values, key=lambda n: values[n]), max(values, key=lambda n: values[n])
    if said(values[least]) == said(values[most]):
        return said(values[least])
    return f"{said(values[least])} ({least}) to {said(values[most])} ({most})"


def cell(column: str, value: Any) -> str:
    """A value of a result column, in the unit that the column's name implies."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if "share" in column.split("_"):
        return percent(value)
    if column == "pct_of_events":
        return f"{value:.3g} %"
    if "_pct" in column:
        return points(value)
    if column.endswith("_bytes") or column == "bytes":
        return size(value)
    if column.endswith("_ns"):
        return duration(value)
    if column.endswith("_s"):
        return f"{value:.2f} s"
    if column == "huge_blocks_free_delta_vs_unprotected" and value > 0:
        return f"+{number(value)}"
    return number(value)
