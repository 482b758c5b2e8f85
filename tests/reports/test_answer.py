"""The answer at its thresholds: 9 and 10 refills apart, costs that disagree, failures, no page tables."""

from dataclasses import replace
from typing import Any

import pytest
from report_case import facts, joined, pool

from reports.sections.answer import demand, failed, recommendation, shortfall


def test_nine_refills_apart_is_no_recommendation_and_ten_is_one() -> None:
    nine = joined(recommendation, facts(unprotected={}, pba=pool(20, 5), reserve_block=pool(11, 3)))
    ten = joined(recommendation, facts(unprotected={}, pba=pool(20, 5), reserve_block=pool(10, 3)))
    assert nine.startswith(
        "No pool is recommended: their refills differ by only 9, from 11 (reserve-block) to 20 (pba), because page tables "
        "grow by no more than 1,024 pages (2 blocks of 2M); ranking them takes a difference of 10."
    )
    idle = joined(recommendation, facts(pba=pool(0), reserve_block=pool(0)))
    assert "because what each held before the first event was enough" in idle
    blocks = {"pba": {9: (37, 0)}, "reserve-block": {9: (37, 0)}}
    whole = joined(recommendation, facts(blocks, pba=pool(37), reserve_block=pool(37)))
    assert "because every refill got a 2M block" in whole
    mixed = joined(
        recommendation, facts(blocks | {"pba": {9: (37, 1), 4: (1, 0)}}, pba=pool(37), reserve_block=pool(37))
    )
    assert "because every refill" not in mixed
    assert ten.startswith("Of the pools, reserve-block costs least on every count: splits at run time 3 against 5")


def test_unprotected_and_per_table_strategies_are_no_pools() -> None:
    text = joined(recommendation, facts(unprotected=pool(0), pte_mapped=pool(500), pba=pool(20)))
    assert text.startswith("No recommendation: 1 strategy with a pool")


def test_counts_that_disagree_name_no_winner() -> None:
    text = joined(recommendation, facts(pba=pool(60, splits=2, idle=500), reserve_block=pool(20, splits=9, idle=20)))
    assert text.startswith("No single recommendation, because the costs disagree")
    assert "pba lowest in splits at run time (2 against 9)" in text
    assert "reserve-block lowest in idle pages (20 against 500)" in text


def test_what_was_not_measured_is_not_compared() -> None:
    text = joined(
        recommendation,
        facts(pba=pool(60, splits=2, idle=500), reserve_block=pool(20, splits=1) | {"pool_idle_pages_mean": None}),
    )
    assert "idle" not in text
    assert text.startswith("Of the pools, reserve-block costs least")


def test_who_could_not_supply_everything_is_never_recommended() -> None:
    text = joined(
        recommendation, facts(pba=pool(60, 1, ptp_nulls=2), reserve_block=pool(20, 5), self_split=pool(40, 9))
    )
    assert "reserve-block costs least" in text
    assert "Left out because of failures: pba." in text


def test_a_strategy_near_the_best_is_not_ranked_below_it() -> None:
    text = joined(recommendation, facts(pba=pool(60, 9), reserve_block=pool(20, 1), self_split=pool(29, 2)))
    assert "Fewer than 10 refills away, and so not ranked below: self-split." in text


def test_shortfall_names_each_kind_by_itself() -> None:
    text = joined(shortfall, facts(unprotected={}, pba=pool(20, ptp_nulls=1, split_starvations=3)))
    assert text == "Failures in the replay: pba (1 page table not supplied and 3 splits without a keyed table)."
    none = joined(shortfall, facts(unprotected={"unkeyed_page_seconds": 9}))
    assert none.startswith("In the replay, no strategy failed")
    assert none.endswith("none called the OOM killer.")


def test_what_more_than_the_baseline_failed_is_named() -> None:
    told = replace(
        facts(unprotected={"stalls": 3}, pba={"stalls": 7}, reserve_block={"stalls": 2}, generic={"stalls": 3}),
        failed_allocations={"unprotected": 13, "pba": 14, "reserve-block": 13, "generic": 14},
    )
    text = joined(shortfall, told)
    assert (
        "with unprotected, including the strategies' own requests: pba 1 more failed allocation and 4 more stalls;"
        in text
    )
    assert text.endswith("; generic 1 more failed allocation.")
    assert "Compared" not in joined(shortfall, facts(pba={"stalls": 7}))


def test_what_the_recorded_machine_failed_is_left_out_and_said() -> None:
    many = joined(shortfall, replace(facts(pba={}), quality={"failed_allocations": 57}))
    assert (
        "The recorded machine itself failed 57 allocations; the replay leaves out those requests, because their frees are unknown"
        in many
    )
    one = joined(shortfall, replace(facts(pba={}), quality={"failed_allocations": 1}))
    assert "failed 1 allocation; the replay leaves out that request, because its free is unknown" in one
    assert "recorded machine" not in joined(shortfall, replace(facts(pba={}), quality={"failed_allocations": 0}))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "; none were alive before the first event."),
        ({"ptp_live_start": 1}, "; 1 was alive before the first event."),
        (
            {"ptp_live_start": None},
            "; the recording does not show how many page tables were alive before its first event.",
        ),
    ],
)
def test_page_tables_before_the_first_event(changed: dict[str, Any], said: str) -> None:
    assert demand(facts(unprotected={"ptp_live_start": 0} | changed)).endswith(said)


def test_a_recording_without_page_tables_says_that_and_stops() -> None:
    nothing = {"ptp_allocs": 0, "ptp_live_peak": 0, "ptp_live_start": 12}
    told = facts(unprotected=nothing, pba=pool(0) | nothing, reserve_block=pool(0) | nothing)
    assert demand(told) == "The recording allocates no page tables."
    assert joined(recommendation, told) == "No recommendation: no page table is allocated."


def test_blocks_alone_are_no_reason_where_something_else_differs() -> None:
    blocks = {"pba": {9: (1, 0)}, "reserve-block": {9: (1, 0)}}
    quiet = {"ptp_live_peak": 400, "permission_changes": 1, "shrunk_pages": 0}
    text = joined(
        recommendation,
        facts(
            blocks,
            pba=pool(1) | quiet | {"permission_changes": 230, "shrunk_pages": 229},
            reserve_block=pool(1) | quiet | {"block_failures": 1},
        ),
    )
    assert "every refill got a 2M block" not in text
    assert text.startswith(
        "No pool is recommended: each pool took 1 refill, because page tables grow by no more than 300 pages"
    )
    assert text.endswith(
        "The pools do differ in pages given back by a shrinker: 0 (reserve-block) to 229 (pba); permission changes: "
        "1 (reserve-block) to 230 (pba); failed 2M allocations: 0 (pba) to 1 (reserve-block)."
    )
    shrunk = quiet | {"shrunk_pages": 4}
    same = joined(recommendation, facts(blocks, pba=pool(1) | shrunk, reserve_block=pool(1) | shrunk))
    assert "every refill got a 2M block" not in same
    assert "every refill got a 2M block" in joined(
        recommendation, facts(blocks, pba=pool(1) | quiet, reserve_block=pool(1) | quiet)
    )


def test_failures_of_all_kinds_are_one_number() -> None:
    found = facts(
        pba={"ptp_nulls": 2, "deadlocks": 3},
        oracle=dict.fromkeys(("ptp_nulls", "split_starvations", "deadlocks", "oom_kills")),
    )
    assert (failed(found, "pba"), failed(found, "oracle")) == ("5", "n/a")
