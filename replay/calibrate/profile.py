"""The profile that a calibration writes: constants for ``replay run --costs``, and everything that was measured."""

import csv
import io
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ptpool.errors import UsageError
from replay.calibrate.estimate import COLUMNS, METHOD, Value
from replay.profiles.costs import built_in


@dataclass(frozen=True)
class Calibration:
    """What was measured on one machine.

    Attributes:
        machine: facts of the machine, see `replay.calibrate.host.described`.
        made: when, by what and how.
        remarks: what could not be measured, and what to keep in mind.
        values: everything measured.
    """

    machine: Mapping[str, str | int]
    made: Mapping[str, str]
    remarks: Sequence[str]
    values: Sequence[Value]

    def csv(self) -> str:
        """The values as tidy CSV."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(value) for value in self.values)
        return out.getvalue()


def flush_constant(values: Sequence[Value], arch: str, cpus: int) -> tuple[dict[str, float], str] | None:
    """The constant ``flush_base_ns`` of a cost profile, from a measured permission change.

    A fault shows only the sum of the change, its flush and the interrupts of all other CPUs. The change and the
    interrupts are taken from the built-in profile; what remains is the flush. `typical` is with all other CPUs busy;
    `low` and `high` span the intervals of all numbers of busy CPUs.

    Returns:
        The constant and its source; None if no change was measured.
    """
    changes = [value for value in values if value.quantity == "permission_change"]
    own = built_in().constants.get(arch)
    if not changes or own is None:
        return None
    rest = own["change_ns"].typical + own["flush_per_cpu_ns"].typical * (cpus - 1)
    busiest = max(changes, key=lambda value: value.busy_cpus or 0)
    ends = (min(v.low for v in changes), busiest.median, max(v.high for v in changes))
    low, typical, high = (round(max(end - rest, 0.0)) for end in ends)
    source = (
        f"measured: a page fault of memfd_secret took {busiest.median:,.0f} ns longer than one of memfd with "
        f"{busiest.busy_cpus} of {cpus - 1} other CPUs busy; less change_ns and flush_per_cpu_ns as built in"
    )
    return {"low": low, "typical": typical, "high": high}, source


def text(found: Calibration) -> str:
    """The profile as TOML."""
    arch, cpus = str(found.machine["arch"]), int(found.machine["cpus"])
    lines = [
        "# What translation and permission changes cost on one machine, measured by ptpool replay calibrate.",
        "# Use it: ptpool replay run --costs THIS-FILE. What the numbers mean: docs/calibration.md.",
        "",
    ]
    if constant := flush_constant(found.values, arch, cpus):
        numbers, source = constant
        lines += [f"[{arch}.flush_base_ns]", *(f"{key} = {_toml(value)}" for key, value in numbers.items())]
        lines += [f"source = {_toml(source)}", ""]
    lines += ["[provenance]", *(f"{key} = {_toml(value)}" for key, value in found.made.items())]
    lines += [f"method = {_toml(METHOD)}", f"remarks = {_toml(list(found.remarks))}", ""]
    lines += ["[provenance.machine]", *(f"{key} = {_toml(value)}" for key, value in found.machine.items())]
    for value in found.values:
        row = zip(COLUMNS, astuple(value), strict=True)
        lines += ["", "[[provenance.value]]", *(f"{key} = {_toml(item)}" for key, item in row if item is not None)]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value in TOML, whose strings and arrays are those of JSON."""
    return json.dumps(value, ensure_ascii=False)


def load(path: Path) -> Calibration:
    """Read a profile that a calibration wrote.

    Raises:
        UsageError: it cannot be read, or holds no calibration.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "name a profile that ptpool replay calibrate wrote") from error
    except ValueError as error:
        raise UsageError(f"{path}: not TOML ({error})", "name a profile that ptpool replay calibrate wrote") from error
    try:
        made = dict(tables["provenance"])
        machine, values = dict(made.pop("machine")), [Value(**row) for row in made.pop("value", [])]
        remarks = [str(remark) for remark in made.pop("remarks")]
        for value in values:
            float(value.low), float(value.median), float(value.high)
        str(machine["cpu"]), int(machine["cpus"]), str(machine["arch"]), str(machine["kernel"]), str(made["made_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path}: no calibration in it ({error!r})", "name a profile that ptpool replay calibrate wrote"
        ) from error
    return Calibration(machine, {k: v for k, v in made.items() if k != "method"}, remarks, values)
