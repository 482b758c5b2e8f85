"""A comparison in words and tables, for the terminal or as Markdown."""

from itertools import groupby

from ptpool.text import aligned, markdown_table
from reports.compare import Comparison, Difference
from reports.formats import cell, count
from reports.tables import wrapped

_COLUMNS = ("strategy", "metric", "before", "after", "change", "95 % interval", "seeds", "p")


def compared_text(comparison: Comparison, *, markdown: bool = False) -> str:
    """The differences by capture, with a summary before and notes after."""
    blocks = [_head(comparison)]
    for capture, found in groupby(comparison.differences, key=lambda difference: difference.capture):
        blocks.append(f"## {capture}" if markdown else capture)
        blocks.append(_table([_row(difference) for difference in found], markdown=markdown))
    blocks += [wrapped(note) for note in _notes(comparison)]
    return "\n\n".join(blocks)


def _head(comparison: Comparison) -> str:
    found, of = len(comparison.differences), len(comparison.differences) + comparison.same
    before, after = comparison.versions
    text = f"{count(comparison.pairs, 'run')} compared with the same recording, strategy, machine and seed: "
    text += f"{found or 'none'} of {count(of, 'value')} differ."
    return wrapped(f"{text} Made by ptpool {before}" + (f" before, {after} after." if before != after else "."))


def _row(difference: Difference) -> tuple[str, ...]:
    before, after = (_said(difference.metric, value) for value in (difference.before, difference.after))
    change = interval = p = ""
    if difference.before is not None and difference.after is not None:
        change = _signed(difference.metric, difference.after - difference.before)
    if difference.low is not None and difference.high is not None and difference.p is not None:
        interval = " to ".join(_signed(difference.metric, end) for end in (difference.low, difference.high))
        p = f"{difference.p:.2g}"
    return difference.setting, difference.metric, before, after, change, interval, str(difference.seeds), p


def _said(metric: str, value: float | None) -> str:
    return "n/a" if value is None else cell(metric, value)


def _signed(metric: str, change: float) -> str:
    return f"{'-' if change < 0 else '+'}{cell(metric, abs(change))}"


def _table(rows: list[tuple[str, ...]], *, markdown: bool) -> str:
    used = [i for i in range(len(_COLUMNS)) if any(row[i] for row in rows)]
    columns, cells = [_COLUMNS[i] for i in used], [[row[i] for i in used] for row in rows]
    return markdown_table(columns, cells) if markdown else aligned(columns, cells)


def _notes(comparison: Comparison) -> list[str]:
    notes = [f"{setting} parameters changed: {change}." for setting, change in comparison.parameters.items()]
    one = [d for d in comparison.differences if d.p is None]
    several = [d for d in comparison.differences if d.p is not None]
    if one:
        notes.append(
            "With one seed, a replay is deterministic: the values differ by exactly what is shown, but it is unknown "
            "how much of that depends on one initial state. More seeds show it: ptpool replay run --seed 1, 2, ..."
        )
    if several:
        notes.append(
            "change is the mean over seeds, with its bootstrap interval; p is that of the sign test over seeds, not "
            f"corrected for {count(len(several) + comparison.same, 'comparison')}."
        )
    if comparison.alone:
        shown = comparison.alone[:_MOST]
        more = f" and {len(comparison.alone) - _MOST} more" if len(comparison.alone) > _MOST else ""
        notes.append(f"Not compared: {'; '.join(shown)}{more}.")
    return notes


_MOST = 8
