"""The strategies as a page that a kernel developer can compare with the postings: docs/strategies.md."""

import csv
import dataclasses
import inspect
import re
from collections.abc import Sequence
from importlib.resources import files
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

A parameter is set with `--set STRATEGY.PARAMETER=VALUE`. At the end stand [all postings](#postings), and what they
say that is not modelled.
"""

_POSTINGS = """## Postings

From 2021 to November 2026 (`replay/contract/postings.csv`). A posting is named by its message-id; *not found*: we have
looked for it in vain. What stands under "not modelled" is missing from every run. Nowhere is anything counted by node:
the caches of 2021 have a list for each node, v6 of kpkeys one list for all, and the machines replayed here have one
node unless the recording has more.
"""
_NOT_FOUND = "*not found*"
_SAME = (
    (
        "code",
        "A PGD is one page. With `--pti recorded` it has as many as it had: two where that kernel was built with "
        "page-table isolation (up to 6.14; later only where it is in use). Two pages come from the page allocator, "
        "without the key, unless the strategy is part of the page allocator or merges pages (a buddy).",
    ),
    (
        "ours",
        "What a strategy takes at boot it takes before the machine is filled or aged. The load is the same with it and "
        "without it: what the start shows in the memory taken lies elsewhere, and free memory is smaller by what was "
        "taken. Where that does not fit, the run is refused with the number; `replay risk` counts it as a failure.",
    ),
    (
        "ours",
        "A table without its key is a failure in `replay risk`, unless the posting has such tables (`ctor-naive`, "
        "`self-split`, and the tables of splits that come from the page allocator by rule).",
    ),
    (
        "code",
        "A table is asked for with the GFP flags of the recording, and a refill with the rights of the request that it "
        "is for: NOFS and NOIO in a recording are scopes of the task. PF_MEMALLOC and interrupts are not recorded.",
    ),
    (
        "ours",
        "A request that may not sleep is served from the pool's list. With an empty list it is refused and counted, "
        "unless the posting says otherwise: a split, its lock and its tables may sleep.",
    ),
    (
        "ours",
        "Secret memory comes from the pool where the posting has it as a user (`unmapped-alloc`, `migrate-unmapped`, "
        "`freetype`, `generic`; `secrets=false` in the first three: not). With all others it changes the direct map "
        "page by page, and what it splits counts among their splits (cause `outside`).",
    ),
    (
        "ours",
        "The tables for the first key of `pba`, `reserve-block`, `small-reserve`, `generic` and `buddy-reserve` come "
        "from memory set aside and are in no account: a page or two.",
    ),
    (
        "ours",
        "Charged to none: clearing pages, which page tables need with and without a pool (`unmapped-alloc` and "
        "`pte-cache` ask for whole refills cleared, __GFP_ZERO; `freetype` has `clear_ns` for v1's blocks that come "
        "back), writing page tables under the key (the pkey register), and what others wait for the zone's lock.",
    ),
    (
        "ours",
        "Charged to all alike: a page off a pool's list costs what one off a CPU's list of the page allocator costs; a "
        "permission change costs the same for one page and for a block, so converting page by page "
        "(`unmapped-alloc`) costs as many; each page put on a list costs `page_ns`, also where a buddy links a chunk "
        "once. Looking at pages under the list's lock is charged where the posting's shrinker does that (`pba`, "
        "`full-reserve`, `pte-cache`) and to our own.",
    ),
)
"""What holds for every strategy: where it was found, and the rule."""


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
    parts += ["## Rules for all of them\n", _table(("found in", "rule"), _SAME)]
    parts += ["## Parameters that every strategy has\n", "Every posting leaves these open.\n"]
    parts.append(_parameters([row for row in parameters(entries[0]) if row["name"] in common]))
    parts += [_POSTINGS, _table(("posted", "what", "changed", "strategies", "not modelled", "read"), _postings())]
    return "\n".join(parts)


def postings() -> list[dict[str, str]]:
    """All postings in order of date, as `postings.csv` has them: empty where something was not found."""
    text = files("replay.contract").joinpath("postings.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _postings() -> list[tuple[str, ...]]:
    return [
        (
            row["posted"] or _NOT_FOUND,
            f'{row["author"]}, "{row["title"]}", {row["version"]}; '
            + (f"`{row['message_id']}`" if row["message_id"] else f"message-id {_NOT_FOUND}"),
            row["changed"],
            ", ".join(f"[{name}](#{name})" for name in row["strategies"].split(", ") if name) or "none",
            row["not_modelled"],
            row["read"],
        )
        for row in postings()
    ]


def _parameters(rows: Sequence[dict[str, Any]]) -> str:
    cells = [(f"`{row['name']}`", f"`{default_of(row)}`", row["rule"], row["meaning"]) for row in rows]
    return _table(("parameter", "default", "found in", "meaning"), cells)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(columns, rows) + "\n"
