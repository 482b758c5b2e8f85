"""OOM risk in reports: what the draws say, what is not ranked, and the figure."""

from reports.sections.risk import SECTION, brief, draw, sentences
from reports.tables import frame

PLAIN, SINGLE = "{}", '{{"refill_orders": [{}]}}'


def draws(connection, strategy, params, values, *, reclaim="none", censored=False):
    for seed, headroom in enumerate(values):
        connection.execute(
            "INSERT INTO risk_threshold VALUES ('c', ?, ?, 'recorded', 0.9, 'severe', 'unmovable', ?, ?, ?, ?, 0.8, 0.9, 1, 'oom_kill', 2, 10, 5, 4, 1)",
            [strategy, params, reclaim, seed, headroom, censored],
        )


def test_nothing_measured_says_nothing(case):
    assert sentences(case[0]) == []
    assert brief(case[0]) == ""


def test_the_worst_variant_and_what_nothing_is_enough_for_are_in_the_answer(case):
    told, connection = case
    draws(connection, "unprotected", PLAIN, [1])
    draws(connection, "unprotected", PLAIN, [1.5], reclaim="moderate")
    draws(connection, "pba", PLAIN, [2])
    connection.execute("UPDATE risk_threshold SET contradicted = 3 WHERE strategy = 'pba'")
    draws(connection, "self-split", PLAIN, [8], censored=True)
    draws(connection, "self-split", PLAIN, [12], reclaim="moderate")
    said = brief(told)
    assert said.endswith(
        "1 machine drawn for each of 2 variants of reclaim), the headroom (in multiples of the peak demand) below which each "
        "fails is 1.5 for unprotected and 2 or more for pba; self-split still fails at the largest headroom tried."
    )


def test_the_order_of_refills_and_what_holds_in_all_variants(case):
    told, connection = case
    for reclaim in ("none", "moderate", "optimistic"):
        draws(connection, "unprotected", PLAIN, [1, 1, 1, 1.1, 1.1, 1.2], reclaim=reclaim)
        draws(connection, "pba", PLAIN, [2, 2, 2, 2.5, 3, 3], reclaim=reclaim)
        draws(connection, "freetype", PLAIN, [2, 2, 2, 2, 2, 1.2 if reclaim == "none" else 2], reclaim=reclaim)
        draws(connection, "full-reserve", SINGLE.format(0), [1] * 5 + [1.2], reclaim=reclaim)
        draws(connection, "full-reserve", SINGLE.format(2), [2] * 6, reclaim=reclaim)
        draws(connection, "full-reserve", SINGLE.format(9), [17] * 6, reclaim=reclaim, censored=True)
    assert brief(told) == (
        "Where little memory is left (fragmentation severe, page tables 90 % of demand; 6 machines drawn for each of 3 variants of reclaim), the headroom "
        "(in multiples of the peak demand) below which each fails is 1 for unprotected, 2 for freetype and 2 for pba."
    )
    said = sentences(told)
    assert said[2] == (
        "Memory severe, page tables 90 % of demand, reclaim optimistic: the same pool with larger refills needs this many times the headroom that it "
        "needs with refills of order 0: 2 (1.7 to 2) with order 2 and more than 17 (14 to 17) with order 9."
    )
    assert "refills of order 9, pba and refills of order 2." in said[3], said[3]
    assert "freetype" not in said[3], "it does not hold under none"
    assert "in 108 of 432 further runs" in said[4]
    assert "6 machines drawn for each variant of reclaim, which is few: `ptpool replay risk --seeds 12`" in said[4]


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
    assert "80% for order 2, 90% for order 4 and 100% for order 9" in shown.caption


def test_few_draws_rank_nothing(case):
    told, connection = case
    for reclaim in ("none", "moderate", "optimistic"):
        draws(connection, "unprotected", PLAIN, [1] * 5, reclaim=reclaim)
        draws(connection, "pba", PLAIN, [2] * 5, reclaim=reclaim)
    assert any("at least 6 draws, so nothing is ranked" in sentence for sentence in sentences(told))
