"""The strategies as a page that a kernel developer can compare with the postings: docs/strategies.md."""

import dataclasses
import inspect
import re
from collections.abc import Sequence
from typing import Any

from ptpool.text import markdown_table
from replay.contract.registry import Entry, default_of, parameters
from replay.contract.strategy import Strategy

_RULE = re.compile(r"^(code|text|reported|ours)  ")

_HEAD = """# The strategies, rule by rule

Written by `make docs` from the strategies' own files in `replay/strategies/`; a test keeps it current. To add
your own, see [Write your own strategy](write-your-own-strategy.md). Every rule says where it was found:

* **code**: read in the posted code
* **text**: taken from the words of the posting
* **reported**: from notes on posted code that we could not read ourselves
* **ours**: the posting is silent: our choice, open to argument

A parameter is set with `--set STRATEGY.PARAMETER=VALUE`.
"""


def rules_of(entry: Entry) -> tuple[str, list[tuple[str, str]]]:
    """A strategy's summary, and its rules as (where it was found, what it says)."""
    summary, _, rest = (inspect.getdoc(entry.factory) or "").partition("\n\n")
    rules: list[tuple[str, str]] = []
    for line in rest.splitlines():
        if match := _RULE.match(line):
            rules.append((match[1], line[match.end() :].strip()))
        elif rules and line.strip():
            rules[-1] = rules[-1][0], f"{rules[-1][1]} {line.strip()}"
        else:
            summary += f" {line}"
    return " ".join(summary.split()), rules


def page(entries: Sequence[Entry]) -> str:
    """All of them as Markdown."""
    common = {field.name for field in dataclasses.fields(Strategy)}
    parts = [
        _HEAD,
        markdown_table(("strategy", "what it is"), [(f"[{e.name}](#{e.name})", e.title) for e in entries]),
        "",
    ]
    for entry in entries:
        summary, rules = rules_of(entry)
        parts += [
            f"## {entry.name}\n",
            f"**{entry.title[0].upper()}{entry.title[1:]}.** Source: {entry.source}.\n",
            f"{summary}\n",
            _table(("found in", "rule"), rules),
        ]
        own = [row for row in parameters(entry) if row["name"] not in common]
        if own:
            parts.append(_parameters(own))
    parts += ["## Parameters that every strategy has\n", "Every posting leaves these open.\n"]
    parts.append(_parameters([row for row in parameters(entries[0]) if row["name"] in common]))
    return "\n".join(parts)


def _parameters(rows: Sequence[dict[str, Any]]) -> str:
    cells = [(f"`{row['name']}`", f"`{default_of(row)}`", row["rule"], row["meaning"]) for row in rows]
    return _table(("parameter", "default", "found in", "meaning"), cells)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(columns, rows) + "\n"
