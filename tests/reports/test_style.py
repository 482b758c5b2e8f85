"""What figures share: looks, labels that keep apart, groups that are drawn once."""

import numpy as np
import pytest

from replay.contract.registry import strategies
from reports.style import alike, spread


def test_every_strategy_has_a_look_of_its_own() -> None:
    looks = strategies().values()
    assert len({entry.colour for entry in looks}) == len(looks)
    assert len({(entry.line, entry.marker) for entry in looks}) == len(looks)


@pytest.mark.parametrize("values", [[5, 5, 5], [0, 0, 9], [1, 2, 3]])
def test_labels_keep_apart_and_in_order(values: list[float]) -> None:
    places = spread(values, 2, 0, 10)
    assert places == sorted(places)
    assert min(np.diff(places)) > 1.9
    assert places[0] >= 0
    assert places[-1] <= 10


def test_what_cannot_be_told_apart_is_drawn_once() -> None:
    nan = float("nan")
    series = {"a": [1.0, 2, nan], "b": [1.0, 2.4, nan], "c": [1.0, 2, 3], "d": [1.0, 2.6, nan], "e": [1.0]}
    assert alike(series, 0.5) == {"a": ["a", "b"], "c": ["c"], "d": ["d"], "e": ["e"]}
    assert alike(series, 0.3, np.mean) == {"a": ["a", "b", "d"], "c": ["c"], "e": ["e"]}


def test_labels_of_several_lines_get_their_room() -> None:
    low, tall, high = spread([5, 5, 5], [1, 3, 1], 0, 10)
    assert min(tall - low, high - tall) > 1.99
