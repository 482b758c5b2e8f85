"""Strategies that fit a toy machine, and programs for them."""

from dataclasses import replace

from hypothesis import strategies as st
from toy_machine import KSTACK, OTHER, PGTABLE, SECRET

from replay.strategies.buddy_reserve import BuddyReserve
from replay.strategies.ctor_naive import CtorNaive
from replay.strategies.freetype import Freetype
from replay.strategies.full_reserve import FullReserve
from replay.strategies.generic import Generic, GenericSeparate
from replay.strategies.migrate_unmapped import MigrateUnmapped
from replay.strategies.pba import Pba
from replay.strategies.pte_cache import PteCache
from replay.strategies.pte_mapped import PteMapped
from replay.strategies.reserve_block import ReserveBlock
from replay.strategies.reserve_block_percpu import ReserveBlockPerCpu
from replay.strategies.self_split import SelfSplit
from replay.strategies.small_reserve import SmallReserve
from replay.strategies.unmapped_alloc import UnmappedAlloc
from replay.strategies.unprotected import Unprotected

# On the toy geometry a "2M block" is order 2, so the orders of the proposals shrink with it.
BLOCK = ReserveBlock(block_order=2, last_order=2)
TOY_PBA = Pba(refill_orders=(2,), shrink_block_min=2, unshrinkable=4, shrink_batch=512)
SMALL = [
    Unprotected(),
    PteMapped(),
    CtorNaive(),
    FullReserve(refill_orders=(2, 0), shrink_batch=2),
    BLOCK,
    TOY_PBA,
    SmallReserve(block_order=2),
    SelfSplit(refill_orders=(2, 0)),
    ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=0),
    ReserveBlockPerCpu(block_order=2, last_order=2, magazine_order=2),
    UnmappedAlloc(block_order=2, shrink_batch=2),
    UnmappedAlloc(block_order=2, shrink_batch=2, page_by_page=False),
    Freetype(block_order=2, pcp_batch=1),
    PteCache(refill_orders=(2, 0), shrink_batch=2),
    PteCache(refill_orders=(2, 0), shrink_batch=2, toggles=False),
    MigrateUnmapped(block_order=2, pcp_batch=1),
    BuddyReserve(block_order=2, last_order=1, magazine_order=0, keep=8, shrink_batch=4),
    BuddyReserve(block_order=3, last_order=2, magazine_order=1, keep=6, shrink_batch=4, looks=False, spare_blocks=2),
    Generic(refill_orders=(2, 1), cache_order=1, shrink_batch=2),
    GenericSeparate(refill_orders=(2, 1), cache_order=1, shrink_batch=2),
    replace(BLOCK, mutex=False),
]


events = st.lists(
    st.one_of(
        st.tuples(st.just("alloc"), st.integers(0, 120), st.just(0), st.sampled_from([OTHER, PGTABLE, SECRET, KSTACK])),
        st.tuples(st.just("alloc"), st.integers(0, 30).map(lambda n: 200 + 2 * n), st.just(1), st.just(PGTABLE)),
        st.tuples(st.just("alloc"), st.integers(0, 10).map(lambda n: 400 + 4 * n), st.just(2), st.just(OTHER)),
        st.tuples(st.just("free"), st.integers(0, 120), st.just(0), st.just(OTHER)),
        st.tuples(st.just("free"), st.integers(200, 262), st.just(0), st.just(OTHER)),
        st.tuples(st.just("free"), st.integers(0, 30).map(lambda n: 200 + 2 * n), st.just(1), st.just(OTHER)),
        st.tuples(st.just("free"), st.integers(400, 444), st.just(0), st.just(OTHER)),
        st.tuples(st.just("change"), st.just(0), st.just(0), st.just(OTHER)),
    ),
    max_size=250,
)
