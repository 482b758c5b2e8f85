"""Machines of arm64 by granule: what a leaf covers, what a refill of it takes, and a map in which nothing splits."""

import dataclasses

import numpy as np
import pytest
from toy_machine import OTHER, PGTABLE, demand_of, machine_of

from ptpool.vocabulary import MOVABLE
from replay.contract.registry import strategies
from replay.kernel import direct_map as maps
from replay.kernel.geometry import ARM64_4K, ARM64_16K, ARM64_64K, X86_64
from replay.kernel.mmzone import FREE
from replay.runs.one_run import replay_one
from replay.start.other_machine import Profile, bytes_needed, other_machine, pages_of, profile_of
from replay.sweep.spec import read_spec

GIB = 1 << 30
LEAF = {"4k": ("2M", 9), "16k": ("32M", 11), "64k": ("512M", 13)}
GRANULES = {"4k": ARM64_4K, "16k": ARM64_16K, "64k": ARM64_64K}
LOAD = demand_of([("alloc", 8 + n, 0, PGTABLE if n % 2 else OTHER) for n in range(64)], pages=1024)


def built(name, size=4 * GIB):
    recorded = machine_of(1024, geometry=X86_64)
    return other_machine(profile_of(name)._replace(size=size), recorded, LOAD, 0)


def metrics(state, strategy="reserve-block", **parameters):
    chosen = dataclasses.replace(strategies()[strategy].factory(), **parameters)
    result = replay_one(state, LOAD, chosen, metrics_only=True)
    return {row["metric"]: row["value"] for row in result.tables["run_metric"].to_pylist()}


@pytest.mark.parametrize("granule", LEAF)
def test_a_refill_of_a_whole_leaf_is_keyed_without_a_table_and_one_of_2m_only_if_that_is_the_leaf(granule):
    state, (leaf, order) = built(f"arm64-{granule}", 8 * GIB), LEAF[granule]
    assert (state.arch, state.geometry) == ("aarch64", GRANULES[granule])
    assert state.geometry.leaf_name(maps.PMD) == leaf
    whole = metrics(state, block_order=order)
    assert whole["ptp_nulls"] == whole["unkeyed_page_seconds"] == 0
    in_2m = metrics(state, block_order=21 - state.geometry.page_shift)
    largest = maps.PUD if granule == "4k" else maps.PMD
    assert (state.level == largest).all()
    splits = {
        name: values["splits_1g"] + values["splits_2m"] + values["splits_warm_up"]
        for name, values in (("leaf", whole), ("2m", in_2m))
    }
    assert splits == ({"leaf": 1, "2m": 1} if granule == "4k" else {"leaf": 0, "2m": 1})


@pytest.mark.parametrize("granule", LEAF)
def test_in_a_map_of_pages_splits_are_not_applicable_and_its_tables_are_memory_by_the_leaf(granule):
    state = built(f"arm64-{granule}-pte")
    assert (state.level == maps.PTE).all()
    values = metrics(state, block_order=5)
    assert values["splits_2m"] is None
    assert values["splits_1g"] is None
    pages, geometry = len(state.mapped), state.geometry
    assert values["table_pages_direct_map"] == pages // geometry.pmd_pages + -(-pages // geometry.pud_pages)
    assert values["permission_changes"] > 0


def test_memory_is_counted_in_pages_of_the_granule():
    profile = profile_of("arm64-64k")
    assert pages_of(profile, 12) == (64 << 30) >> 16
    assert pages_of(Profile("x", 64 << 30, 0, 0, 0), 12) == (64 << 30) >> 12
    assert bytes_needed(pages_of(profile, 12), 1) < 64 << 20


def test_pageblocks_are_in_use_as_the_profile_says_and_what_is_not_validated_is_said():
    state = built("arm64-64k", 64 * GIB)
    blocks = state.allocator.block_type[:128]
    assert (blocks == MOVABLE).sum() == pytest.approx(128 * (0.60 + 0.09), abs=16)
    assert (state.allocator.kind == FREE).mean() == pytest.approx(0.3, abs=0.02)
    assert any("unvalidated" in text for text in state.assumptions)
    assert any("13 is a leaf of 512M" in text for text in state.assumptions)
    assert not any("unvalidated" in text for text in built("arm64-4k").assumptions)
    assert (np.diff(state.allocator.wmark, axis=1) > 0).all()


def test_the_shipped_sweep_refills_by_the_leaf_of_every_granule():
    asked = {
        (grid["machine"][0], tuple(grid["set"]["block_order"])) for grid in read_spec("granule").grids if "set" in grid
    }
    for granule, (_, order) in LEAF.items():
        (orders,) = [orders for machine, orders in asked if machine == f"arm64-{granule}"]
        assert order in orders
        assert 21 - GRANULES[granule].page_shift in orders
