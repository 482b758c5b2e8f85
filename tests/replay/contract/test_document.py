"""docs/strategies.md is what the strategies say of themselves."""

from pathlib import Path

import pytest

from ptpool.cli import run
from replay.contract.document import rules_of
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
