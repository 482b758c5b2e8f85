"""docs/strategies.md is what the strategies say of themselves."""

import re
from pathlib import Path

import pytest

from ptpool.cli import run
from replay.contract.document import postings, rules_of
from replay.contract.registry import strategies

PAGE = Path(__file__).parents[3] / "docs" / "strategies.md"


@pytest.mark.parametrize("name", sorted(strategies()))
def test_every_strategy_has_a_summary_and_rules_with_their_source(name):
    entry = strategies()[name]
    summary, rules = rules_of(entry)
    assert summary.endswith(".")
    assert rules
    assert entry.source
    assert all(text.endswith((".", '"', ")", ":")) for _, text in rules)


def test_the_page_is_what_the_command_prints(capsys):
    assert run(["replay", "describe", "all", "--markdown"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), "run make docs"


def test_postings_are_in_order_and_name_strategies_that_exist():
    rows = postings()
    dates = [row["posted"] for row in rows if row["posted"]]
    assert dates == sorted(dates) and all(re.fullmatch(r"20\d\d-\d\d-\d\d", date) for date in dates)
    assert all(re.fullmatch(r"[^<>\s]+@[^<>\s]+|", row["message_id"]) for row in rows)
    found = [row["message_id"] for row in rows if row["message_id"]]
    assert len(set(found)) == len(found)
    assert all(row[column] for row in rows for column in ("author", "title", "version", "changed", "not_modelled"))
    named = {name for row in rows for name in row["strategies"].split(", ") if name}
    assert named == {entry.name for entry in strategies().values() if _posted(entry)}


def _posted(entry):
    """Whether a rule of a strategy was found in a posting, and not in a kernel that everybody has."""
    return entry.name != "unprotected" and any(found in ("code", "text") for found, _ in rules_of(entry)[1])


def test_a_posting_that_was_not_found_says_so(capsys):
    assert run(["replay", "describe", "all", "--markdown"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "ALLOC_UNMAPPED" in line and "v4" in line]
    assert any(line.startswith("| *not found* |") and "message-id *not found*" in line for line in lines)
