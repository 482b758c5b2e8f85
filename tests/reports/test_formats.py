"""How numbers are written."""

import pytest

from reports.formats import percent


@pytest.mark.parametrize(
    ("share", "said"), [(1 - 1e-12, "100 %"), (1 - 1e-8, "> 99.9 %"), (0.9995, "> 99.9 %"), (0.9994, "99.9 %")]
)
def test_only_float_noise_is_rounded_up_to_all(share: float, said: str) -> None:
    assert percent(share) == said
