"""The account of each strategy: refills, splits and why, memory."""

from report_case import BASE, facts, joined, pool

from reports.case import Case
from reports.sections.answer import recommendation
from reports.sections.differences import differences


def test_a_map_that_is_all_4k_has_no_splits_and_no_recommendation() -> None:
    flat = {"pte_share_start": 1.0, "pte_share_mean": 1.0}
    arm = facts(unprotected=flat, pba=pool(60) | flat, reserve_block=pool(20) | flat)
    assert "all 4K" in joined(recommendation, arm)
    assert joined(recommendation, arm).startswith("No recommendation")
    assert "not applicable" in dict(differences(arm))["pba"]
    assert "splits are not applicable" in dict(differences(arm))["unprotected"]


def test_the_account_of_a_pool_says_why_it_split() -> None:
    told = Case(
        capture={"page_size": 4096}, metrics={"reserve-block": BASE | pool(31, splits=7, reserve_pages_min=1)},
        refills={"reserve-block": {9: (31, 7), 2: (7, 0)}}, splits={"reserve-block": {("2M", "refill"): 7, ("2M", "warm_up"): 3}},
        reserve={"reserve-block": 2},
    )  # fmt: skip
    text = dict(differences(told))["reserve-block"]
    assert "refilled 31 times: 24 with a 2M block and 7 with 4 pages; 7 of 31 requests for a 2M block" in text
    assert "7 leaves of 2M were split at run time (by refills); 3 leaves before the first event" in text
    assert "7 such refills, 7 splits." in text
    assert "never had fewer than 1 page cached (its reserve is 2)" in text


def test_pte_mapped_pays_with_the_mapping() -> None:
    text = dict(differences(facts(pte_mapped={"pte_share_mean": 1.0, "permission_changes": 2000})))["pte-mapped"]
    assert text.startswith("The direct map is made of 4K pages at boot, so there is no large page to split.")
    assert "2,000 permission changes: one to key each table when it is allocated" in text
    idle = dict(differences(facts(pte_mapped={"pte_share_mean": 1.0, "permission_changes": 0})))["pte-mapped"]
    assert idle.endswith("It makes no permission changes.")


def test_refills_of_one_kind_are_said_once() -> None:
    told = facts({"pba": {9: (21, 0)}}, pba=pool(21))
    assert dict(differences(told))["pba"].startswith("The pool was refilled 21 times, each time with a 2M block.")


def test_strategies_that_did_the_same_share_an_account() -> None:
    told = differences(facts(pba=pool(5, idle=859.2), self_split=pool(5, idle=857), pte_cache=pool(5, idle=900)))
    assert [names for names, _ in told] == ["pba, self-split", "pte-cache"]
    assert "On average 860 pages lay idle" in told[0][1]
