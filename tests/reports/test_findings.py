"""The sentences at their thresholds: 9 and 10 refills apart, a map that is all 4K, a share of 1 %."""

from dataclasses import replace
from typing import Any

import pytest

from reports.case import Case
from reports.formats import percent
from reports.questions import Answer
from reports.sections import answer, differences
from reports.sections import mapping_cost as cost
from reports.sections import verdict as verdicts
from reports.sections.answer import verdict

BASE = {
    "ptp_allocs": 1000, "ptp_live_start": 100, "ptp_live_peak": 1124, "splits_1g": 0, "splits_2m": 0, "splits_warm_up": 0,
    "pte_share_start": 0.001, "pte_share_mean": 0.002, "refills": None, "pool_pages_peak": None, "pool_idle_pages_mean": None,
    "stranded_pages_mean": None, "reserve_pages_min": None, "permission_changes": None, "ptp_nulls": 0,
    "split_starvations": 0, "deadlocks": 0, "oom_kills": 0, "unkeyed_page_seconds": 0, "stalls": 0, "shrunk_pages": None, "block_failures": 0,
}  # fmt: skip


def case(refills: dict[str, dict[int, tuple[int, int]]] | None = None, **metrics: dict[str, Any]) -> Case:
    """A case of strategies (underscores for dashes) with the named metrics changed."""
    rows = {name.replace("_", "-"): BASE | changed for name, changed in metrics.items()}
    return Case(capture={"timing": "real", "arch": "x86_64", "page_size": 4096}, metrics=rows, refills=refills or {})


def pool(refills: int, splits: int = 0, idle: float = 10, share: float = 0.002, **more: Any) -> dict[str, Any]:
    return {"refills": refills, "splits_2m": splits, "pool_idle_pages_mean": idle, "pte_share_mean": share} | more


def test_nine_refills_apart_is_no_recommendation_and_ten_is_one() -> None:
    nine = verdict(case(unprotected={}, pba=pool(20, 5), reserve_block=pool(11, 3)))
    ten = verdict(case(unprotected={}, pba=pool(20, 5), reserve_block=pool(10, 3)))
    assert nine.startswith(
        "No recommendation: the pool strategies differ by 9 refills, from 11 (reserve-block) to 20 (pba), which is fewer"
    )
    assert "because its page tables grow by no more than 1,024 pages (2 blocks of 2M)" in nine
    idle = verdict(case(pba=pool(0), reserve_block=pool(0)))
    assert "because no pool had to be refilled" in idle
    blocks = {"pba": {9: (37, 0)}, "reserve-block": {9: (37, 0)}}
    whole = verdict(case(blocks, pba=pool(37), reserve_block=pool(37)))
    assert "because every refill got a 2M block" in whole
    mixed = verdict(case(blocks | {"pba": {9: (37, 1), 4: (1, 0)}}, pba=pool(37), reserve_block=pool(37)))
    assert "because every refill" not in mixed
    assert ten.startswith("Of the pools, reserve-block costs least here on every count: splits at run time 3 against 5")


def test_unprotected_and_per_table_strategies_are_no_pools() -> None:
    text = verdict(case(unprotected=pool(0), pte_mapped=pool(500), pba=pool(20)))
    assert text.startswith("No recommendation: 1 strategy with a pool")


def test_a_map_that_is_all_4k_has_no_splits_and_no_recommendation() -> None:
    flat = {"pte_share_start": 1.0, "pte_share_mean": 1.0}
    arm = case(unprotected=flat, pba=pool(60) | flat, reserve_block=pool(20) | flat)
    assert "all 4K" in verdict(arm)
    assert verdict(arm).startswith("No recommendation")
    assert "not applicable" in dict(differences.differences(arm))["pba"]
    assert "splits are not applicable" in dict(differences.differences(arm))["unprotected"]


def test_pte_mapped_alone_does_not_make_a_map_all_4k() -> None:
    assert not case(unprotected={}, pte_mapped={"pte_share_start": 1.0}).all_4k


def test_counts_that_disagree_name_no_winner() -> None:
    text = verdict(case(pba=pool(60, splits=2, idle=500), reserve_block=pool(20, splits=9, idle=20)))
    assert text.startswith("No single recommendation, because the counts disagree")
    assert "pba least in splits at run time (2 against 9)" in text
    assert "reserve-block least in idle pages (20 against 500)" in text


def test_what_was_not_measured_is_not_compared() -> None:
    text = verdict(
        case(pba=pool(60, splits=2, idle=500), reserve_block=pool(20, splits=1) | {"pool_idle_pages_mean": None})
    )
    assert "idle" not in text
    assert text.startswith("Of the pools, reserve-block costs least")


def test_who_could_not_supply_everything_is_never_recommended() -> None:
    text = verdict(case(pba=pool(60, 1, ptp_nulls=2), reserve_block=pool(20, 5), self_split=pool(40, 9)))
    assert "reserve-block costs least" in text
    assert "Left out, because it could not supply everything: pba." in text


def test_a_strategy_near_the_best_is_said_not_to_be_told_apart() -> None:
    text = verdict(case(pba=pool(60, 9), reserve_block=pool(20, 1), self_split=pool(29, 2)))
    assert "Fewer than 10 refills away, so not told apart from it: self-split." in text


def test_shortfall_names_each_kind_by_itself() -> None:
    text = answer.shortfall(case(unprotected={}, pba=pool(20, ptp_nulls=1, split_starvations=3)))
    assert (
        text
        == "What could not be had in the replay: pba: 1 page table that could not be supplied and 3 splits without a keyed table."
    )
    none = answer.shortfall(case(unprotected={"unkeyed_page_seconds": 9}))
    assert none.startswith("In the replay, no strategy failed")
    assert none.endswith("none called the OOM killer.")


def test_the_account_of_a_pool_says_why_it_split() -> None:
    told = Case(
        capture={"page_size": 4096}, metrics={"reserve-block": BASE | pool(31, splits=7, reserve_pages_min=1)},
        refills={"reserve-block": {9: (31, 7), 2: (7, 0)}}, splits={"reserve-block": {("2M", "refill"): 7, ("2M", "warm_up"): 3}},
        reserve={"reserve-block": 2},
    )  # fmt: skip
    text = dict(differences.differences(told))["reserve-block"]
    assert "refilled its pool 31 times: 24 with a 2M block and 7 with 4 pages; 7 of 31 requests for a 2M block" in text
    assert "split 7 leaves of 2M at run time (by its refills); 3 leaves before the first event" in text
    assert "7 such refills, 7 splits." in text
    assert "never below 1 page cached (its reserve is 2)" in text


def test_pte_mapped_pays_with_the_mapping() -> None:
    text = dict(differences.differences(case(pte_mapped={"pte_share_mean": 1.0, "permission_changes": 2000})))[
        "pte-mapped"
    ]
    assert text.startswith("The direct map is made of 4K pages at boot: there is no large page to split.")
    assert "2,000 permission changes: a key set per table allocated" in text
    idle = dict(differences.differences(case(pte_mapped={"pte_share_mean": 1.0, "permission_changes": 0})))[
        "pte-mapped"
    ]
    assert idle.endswith("It makes no permission changes.")


def costs(share: float, low: float | None) -> Case:
    columns = (
        "strategy",
        "pte_share_mean",
        "mapping_cost_pct_low",
        "mapping_cost_pct_median",
        "mapping_cost_pct_high",
        "mapping_cost_basis",
    )
    answer = Answer("mapping_cost", "", columns, (("pba", share, low, low, low, "aarch64, time"),))
    scale = Answer("mapping_scale", "", ("arch", "metric", "measurements", "low_pct", "median_pct", "high_pct", "platforms"),
                   (("aarch64", "throughput", 3, 1.0, 1.0, 1.0, "x"), ("aarch64", "time", 4, 2.68, 3.91, 12.77, "AmpereOne")))  # fmt: skip
    return Case(
        capture={"arch": "x86_64"}, metrics={"pba": BASE}, answers={"mapping_cost": answer, "mapping_scale": scale}
    )


@pytest.mark.parametrize(("share", "low", "below"), [(0.0099, None, True), (0.01, 0.0268, False)])
def test_below_one_percent_no_cost_is_given(share: float, low: float | None, below: bool) -> None:
    (sentence,) = cost.mapping(costs(share, low))
    assert ("below what anyone has measured" in sentence) == below
    assert ("0.03 %" in sentence) != below
    assert ("elow what anyone has measured" in cost.mapping_short(costs(share, low))) == below


def test_the_scale_of_another_architecture_is_said_to_be_one() -> None:
    text = cost.basis(costs(0.5, 1.0))
    assert "2.68 % (low), 3.91 % (median) and 12.77 % (high)" in text
    assert "another architecture's" in text
    assert "for x86_64 nobody has published a difference in time" in text


def test_many_pools_are_said_as_a_range() -> None:
    few = verdicts.contrast(case(unprotected={"splits_2m": 2}, pba=pool(20, 5), reserve_block=pool(0)))
    assert few == (
        "The pools took, at run time: pba 20 refills and 5 splits of the direct map; reserve-block no refills and no "
        "splits of the direct map. Without any keys (unprotected) there are 2 splits."
    )
    many = verdicts.contrast(
        case(pba=pool(20, 5), reserve_block=pool(9, 5), self_split=pool(30, 5), generic=pool(40, 5))
    )
    assert (
        many == "The pools took 9 (reserve-block) to 40 (generic) refills and 5 splits of the direct map at run time."
    )


def test_refills_of_one_kind_are_said_once() -> None:
    told = case({"pba": {9: (21, 0)}}, pba=pool(21))
    assert dict(differences.differences(told))["pba"].startswith(
        "It refilled its pool 21 times, each time with a 2M block."
    )


def test_what_more_than_the_baseline_failed_is_named() -> None:
    told = replace(
        case(unprotected={"stalls": 3}, pba={"stalls": 7}, reserve_block={"stalls": 2}, generic={"stalls": 3}),
        failed_allocations={"unprotected": 13, "pba": 14, "reserve-block": 13, "generic": 14},
    )
    text = answer.shortfall(told)
    assert (
        "Against unprotected, with the strategies' own requests: pba 1 more failed allocation and 4 more stalls;"
        in text
    )
    assert text.endswith("; generic 1 more failed allocation.")
    assert "Against" not in answer.shortfall(case(pba={"stalls": 7}))


def test_what_the_recorded_machine_failed_is_left_out_and_said() -> None:
    many = answer.shortfall(replace(case(pba={}), quality={"failed_allocations": 57}))
    assert "The recorded machine itself failed 57 allocations; the replay leaves those requests out" in many
    one = answer.shortfall(replace(case(pba={}), quality={"failed_allocations": 1}))
    assert "failed 1 allocation; the replay leaves that request out" in one
    assert "recorded machine" not in answer.shortfall(replace(case(pba={}), quality={"failed_allocations": 0}))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ", and none were alive before the first event."),
        ({"ptp_live_start": 1}, ", and 1 was alive before the first event."),
        ({"ptp_live_start": None}, ", and how many page tables were alive before the first event is not recorded."),
    ],
)
def test_page_tables_before_the_first_event(changed: dict[str, Any], said: str) -> None:
    assert answer.demand(case(unprotected={"ptp_live_start": 0} | changed)).endswith(said)


def test_a_recording_without_page_tables_says_that_and_stops() -> None:
    nothing = {"ptp_allocs": 0, "ptp_live_peak": 0, "ptp_live_start": 12}
    told = case(unprotected=nothing, pba=pool(0) | nothing, reserve_block=pool(0) | nothing)
    assert answer.demand(told) == "The recording allocates no page tables."
    assert verdict(told) == "No recommendation: no page table is allocated, so there is nothing to supply."


def recorded(splits_2m: tuple[int, int, int], splits_1g: tuple[int, int, int]) -> list[dict[str, Any]]:
    columns = ("quantity", "recorded_before", "recorded_after", "replayed_after")
    rows = (("free pages", 9, 8, 1), ("2M splits since boot", *splits_2m), ("1G splits since boot", *splits_1g))
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_splits_stand_beside_those_of_the_recorded_machine() -> None:
    told = case(unprotected={"splits_2m": 25}, pba=pool(5, 21), reserve_block=pool(5, 20))
    text = verdicts.contrast(replace(told, agreement=recorded((5, 33, 30), (0, 1, 0))))
    assert "there are 25 splits; the recorded machine counted 29 (28 of 2M and 1 of 1G). " in text
    assert text.endswith(
        "The model is 4 splits away from the recorded machine, "
        "and the difference between pba and unprotected is within that error."
    )
    exact = verdicts.contrast(replace(told, agreement=recorded((5, 30, 30), (0, 0, 0))))
    assert exact.endswith("there are 25 splits; the recorded machine counted 25 (25 of 2M).")
    none = verdicts.contrast(replace(told, agreement=recorded((5, 5, 5), (0, 0, 0))))
    assert none.endswith("the recorded machine counted none.")


def test_errors_of_opposite_sign_do_not_cancel() -> None:
    told = case(unprotected={"splits_2m": 25}, pba=pool(5, 23))
    text = verdicts.contrast(replace(told, agreement=recorded((0, 24, 25), (0, 1, 0))))
    assert "The model is 2 splits away" in text
    assert "every pool strategy and unprotected is within that error" in text


def test_blocks_alone_are_no_reason_where_something_else_differs() -> None:
    blocks = {"pba": {9: (1, 0)}, "reserve-block": {9: (1, 0)}}
    quiet = {"ptp_live_peak": 400, "permission_changes": 1, "shrunk_pages": 0}
    text = verdict(
        case(
            blocks,
            pba=pool(1) | quiet | {"permission_changes": 230, "shrunk_pages": 229},
            reserve_block=pool(1) | quiet | {"block_failures": 1},
        )
    )
    assert "never came into play" not in text
    assert text.startswith("No recommendation: the pool strategies took equally many refills (1 each)")
    assert text.endswith(
        "The pools did differ in pages given back by a shrinker: 0 (reserve-block) to 229 (pba); permission changes: "
        "1 (reserve-block) to 230 (pba); failed 2M allocations: 0 (pba) to 1 (reserve-block)."
    )
    shrunk = quiet | {"shrunk_pages": 4}
    same = verdict(case(blocks, pba=pool(1) | shrunk, reserve_block=pool(1) | shrunk))
    assert "never came into play" not in same
    assert "never came into play" in verdict(case(blocks, pba=pool(1) | quiet, reserve_block=pool(1) | quiet))


@pytest.mark.parametrize(
    ("share", "said"), [(1 - 1e-12, "100 %"), (1 - 1e-8, "> 99.9 %"), (0.9995, "> 99.9 %"), (0.9994, "99.9 %")]
)
def test_only_float_noise_is_rounded_up_to_all(share: float, said: str) -> None:
    assert percent(share) == said


def test_blocks_are_those_of_the_machines_pages() -> None:
    small, large = (Case({"page_size": size}, {}) for size in (4096, 65536))
    assert (small.block_pages, small.leaf_names["2M"]) == (512, "2M")
    assert (large.block_pages, large.leaf_names["2M"], large.leaf_names["4K"]) == (8192, "512M", "64K")


def test_strategies_that_did_the_same_are_told_once() -> None:
    told = differences.differences(
        case(pba=pool(5, idle=859.2), self_split=pool(5, idle=857), pte_cache=pool(5, idle=900))
    )
    assert [names for names, _ in told] == ["pba, self-split", "pte-cache"]
    assert "On average 860 pages lay idle" in told[0][1]


def test_failures_of_all_kinds_are_one_number() -> None:
    found = case(
        pba={"ptp_nulls": 2, "deadlocks": 3},
        oracle=dict.fromkeys(("ptp_nulls", "split_starvations", "deadlocks", "oom_kills")),
    )
    assert (answer.failed(found, "pba"), answer.failed(found, "oracle")) == ("5", "n/a")
