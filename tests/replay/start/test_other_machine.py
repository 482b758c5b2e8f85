"""Machines of other sizes and ages than the recorded one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from toy_machine import OTHER, PGTABLE, demand_of, machine_of

from ptpool.cli import run
from ptpool.errors import UsageError
from ptpool.vocabulary import MOVABLE, UNMOVABLE
from replay.contract.registry import strategies
from replay.kernel import direct_map as maps
from replay.kernel.geometry import ARM64_4K, ARM64_16K, ARM64_64K, X86_64
from replay.kernel.mmzone import FREE, USED
from replay.runs.one_run import replay_one
from replay.start.checks import bytes_needed
from replay.start.other_machine import Profile, check_memory, other_machine, pages_of, profile_of

CAPTURES = Path(__file__).parents[3] / "data" / "captures"
MIB = 1 << 20


def built(seed=0, events=(), **changed):
    profile = Profile("test", 256 * MIB, 0.4, 0.1, 0.5)._replace(**changed)
    recorded = machine_of(1024, geometry=X86_64, tables=(3, 4))
    return other_machine(profile, recorded, demand_of(events, pages=1024), seed)


def test_names_and_sizes():
    assert profile_of("recorded") is None
    assert profile_of("8G").size == 8 << 30
    assert profile_of("1.5G").size == 3 << 29
    assert profile_of("server-1t").size == 1 << 40
    assert profile_of("phone-2g").unmovable == 0.2
    for name in ("8", "8g", "fresh", "nonsense", ""):
        with pytest.raises(UsageError, match="no such machine"):
            profile_of(name)
    with pytest.raises(UsageError, match="too small"):
        profile_of("63M")


def test_a_machine_of_a_tebibyte_fits_and_one_that_cannot_is_refused(monkeypatch):
    memory = {"SC_PHYS_PAGES": (24 << 30) >> 12, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", memory.__getitem__)
    check_memory(profile_of("server-1t"), 12, 1)
    with pytest.raises(UsageError, match="GiB of memory are needed"):
        check_memory(profile_of("server-1t"), 12, 4)
    with pytest.raises(UsageError, match="GiB of memory are needed"):
        check_memory(profile_of("64T"), 16, 1)


@pytest.mark.parametrize("fragmentation", [0.0, 0.5, 1.0])
def test_shares_in_use_are_those_of_the_profile_and_fragmentation_leaves_fewer_whole_blocks(fragmentation):
    a = built(fragmentation=fragmentation).allocator
    pages = len(a.kind)
    assert (a.kind == USED + MOVABLE).sum() / pages == pytest.approx(0.4, abs=0.02)
    assert (a.kind == USED + UNMOVABLE).sum() / pages == pytest.approx(0.1, abs=0.02)
    assert (a.kind == FREE).sum() == a.free_pages.sum()
    whole = int((a.nr_free[:, 9] + 2 * a.nr_free[:, 10]).sum())
    assert whole == pytest.approx((1 - fragmentation) * 0.5 * pages / 512, abs=2)


def test_superpageblocks_hold_the_unmovable_pages_in_as_few_1g_blocks_as_do():
    """16 GiB: a tenth and a quarter of what is free, so 4 of 16 blocks; movable pages are in all."""
    spread, gathered = (
        built(size=16 << 30, superpageblocks=each).allocator.kind.reshape(16, -1) for each in (False, True)
    )
    assert [int((kind == USED + UNMOVABLE).any(axis=1).sum()) for kind in (spread, gathered)] == [16, 4]
    assert (gathered == USED + MOVABLE).any(axis=1).sum() >= 15 - 3
    assert (gathered == USED + UNMOVABLE).sum() == pytest.approx((spread == USED + UNMOVABLE).sum(), rel=0.01)


def test_a_machine_with_superpageblocks_says_what_is_not_modelled():
    state = other_machine(
        profile_of("server-64g-superpageblocks")._replace(size=256 * MIB),
        machine_of(1024, geometry=X86_64),
        demand_of([], pages=1024),
        0,
    )
    assert state.allocator.features.superpageblock_order == 18
    assert any("Not modelled: lists for each of these blocks, the worker" in text for text in state.assumptions)


def test_zones_and_watermarks_are_the_kernels():
    """2 GiB x86-64: khugepaged asks for 512 * 2 zones * 11 pages; a twentieth of memory is more."""
    a = built(size=2048 * MIB).allocator
    assert a.zones.tolist() == [[0, 4095, 0, 0], [4096, 524287, 1, 0]]
    assert a.wmark[:, 0].sum() == pytest.approx(512 * 2 * 11, abs=2)
    assert a.lowmem_reserve[0].tolist() == [0, 520192 // 256, 0, 520192 // 256]
    assert (np.diff(a.wmark, axis=1) > 0).all()


def test_seeds_place_differently_and_the_same_seed_the_same():
    kinds = [built(seed).allocator.kind.tobytes() for seed in (1, 1, 2)]
    assert kinds[0] == kinds[1] != kinds[2]


def test_pages_that_the_recording_frees_stand_for_pages_in_use():
    demand = demand_of([("free", 9, 0, OTHER), ("alloc", 11, 0, OTHER), ("free", 3, 0, OTHER)], pages=1024)
    demand.first_seen[[9, 3]] = 0
    demand.first_seen[11] = 1
    recorded = machine_of(1024, geometry=X86_64, free=np.zeros(1024, np.bool_), tables=(3, 4))
    state = other_machine(Profile("test", 256 * MIB, 0.4, 0.1, 0.5), recorded, demand, 0)
    assert state.allocator.kind[state.stands_for[9]] == USED + MOVABLE
    assert state.stands_for[[3, 11]].tolist() == [-1, -1]
    assert state.page_tables_elsewhere == 2


@pytest.mark.slow
def test_a_capture_replays_on_another_machine(tmp_path, capsys):
    path = str(tmp_path / "w.duckdb")
    assert run(["ingest", "trace", str(CAPTURES / "sharedmem-frag-1g"), "--quiet", "--db", path]) == 0
    arguments = ["replay", "run", "--strategy", "unprotected,reserve-block", "--quiet", "--json", "--db", path]
    capsys.readouterr()
    assert run([*arguments, "--machine", "phone-2g"]) == 0
    ids = [row["run_id"] for row in json.loads(capsys.readouterr().out)]
    assert run(["sql", "SELECT machine, is_default FROM run", "--json", "--db", path]) == 0
    assert json.loads(capsys.readouterr().out) == [{"machine": "phone-2g", "is_default": False}] * 2
    assert run([*arguments, "--machine", "phone-2g", "--seed", "1"]) == 0
    assert not set(ids) & {row["run_id"] for row in json.loads(capsys.readouterr().out)}
    assert run([*arguments, "--machine", "toaster"]) == 2
    assert "no such machine" in capsys.readouterr().err


GIB = 1 << 30
LEAF = {"4k": ("2M", 9), "16k": ("32M", 11), "64k": ("512M", 13)}
GRANULES = {"4k": ARM64_4K, "16k": ARM64_16K, "64k": ARM64_64K}
LOAD = demand_of([("alloc", 8 + n, 0, PGTABLE if n % 2 else OTHER) for n in range(64)], pages=1024)


def arm64(name, size=4 * GIB):
    recorded = machine_of(1024, geometry=X86_64)
    return other_machine(profile_of(name)._replace(size=size), recorded, LOAD, 0)


def metrics(state, strategy="reserve-block", **parameters):
    chosen = dataclasses.replace(strategies()[strategy].factory(), **parameters)
    result = replay_one(state, LOAD, chosen, metrics_only=True)
    return {row["metric"]: row["value"] for row in result.tables["run_metric"].to_pylist()}


@pytest.mark.parametrize("granule", LEAF)
def test_a_refill_of_a_whole_leaf_is_keyed_without_a_table_and_one_of_2m_only_if_that_is_the_leaf(granule):
    state, (leaf, order) = arm64(f"arm64-{granule}", 8 * GIB), LEAF[granule]
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
    refills = {"4k": 1, "16k": 1, "64k": 2}[granule]  # the first, at boot, lies in a leaf of its own
    assert splits == {"leaf": 1 if granule == "4k" else 0, "2m": refills}


@pytest.mark.parametrize("granule", LEAF)
def test_in_a_map_of_pages_splits_are_not_applicable_and_its_tables_are_memory_by_the_leaf(granule):
    state = arm64(f"arm64-{granule}-pte")
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
    state = arm64("arm64-64k", 64 * GIB)
    blocks = state.allocator.block_type[:128]
    assert (blocks == MOVABLE).sum() == pytest.approx(128 * (0.60 + 0.09), abs=16)
    assert (state.allocator.kind == FREE).mean() == pytest.approx(0.3, abs=0.02)
    assert any("unvalidated" in text for text in state.assumptions)
    assert any("13 is a leaf of 512M" in text for text in state.assumptions)
    assert not any("unvalidated" in text for text in arm64("arm64-4k").assumptions)
    assert (np.diff(state.allocator.wmark, axis=1) > 0).all()
