"""A counterexample as text."""

from replay.check.search import Scenario, search
from replay.check.searches import Checked, lines, toy_strategy
from replay.contract.registry import find


def test_a_counterexample_can_be_pasted_into_a_mail():
    (entry,) = find(["small-reserve"])
    text = lines([Checked("small-reserve", search(toy_strategy(entry, {}), Scenario(1, 0), 14))])
    assert text[0] == "small-reserve"
    assert "    1. task 1 asks for a page table; the pool has 2 and keeps 2: it refills" in text
    assert text[-1].endswith("the refill's own split needs 2 tables and the pool has 1")
    assert all(len(line) <= 100 for line in text)
