"""Memory pressure in reports: the curves, and what the table of the index makes of the draws."""

from reports.sections.pressure import SECTION, draw
from reports.tables import frame


def test_one_strip_per_strategy_and_one_column_per_variant(case):
    told, connection = case
    for reclaim in ("none", "moderate", "optimistic"):
        for strategy, failures in (("unprotected", (0, 0)), ("pba", (6, 0)), ("freetype", (6, 6))):
            for headroom, failed in zip((1.0, 2.0), failures, strict=True):
                connection.execute(
                    "INSERT INTO risk VALUES ('c', ?, '{}', 'recorded', 0.9, 'severe', 'unmovable', ?, ?, 0.8, 0.9, 1, 6, ?, 0, 0.1, 0.9, NULL)",
                    [strategy, reclaim, headroom, failed],
                )
    drawn = draw(frame(told.answers["risk_curve"]))
    names = [axis.get_ylabel() for axis in drawn.axes if axis.get_ylabel()]
    assert (len(drawn.axes), names) == (6, ["pba", "freetype"]), "unprotected is the grey of the others"
    (curve,) = drawn.axes[0].lines
    assert curve.get_ydata().tolist() == [1.0, 0.0]
    (shown,) = SECTION.figures(connection, told)
    assert "80 % for order 2, 90 % for order 4 and 100 % for order 9" in shown.caption
