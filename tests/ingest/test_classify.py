"""Stacks and the rules file."""

import pytest

from ingest.classify import classify, frames_of, has_names, rules
from ptpool.vocabulary import CONSUMERS, LEVELS, ROLES

ALLOC = ("__alloc_pages_noprof", "alloc_pages_mpol_noprof", "alloc_pages_noprof")


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (("pte_alloc_one", "__pte_alloc", "copy_page_range"), ("pgtable_user", "pte", "linked")),
        (("pte_alloc_one", "do_fault_around"), ("pgtable_user", "pte", "preallocated")),
        (("pte_alloc_one", "do_huge_pmd_anonymous_page"), ("pgtable_user", "pte", "deposited")),
        (("pte_alloc_one", "copy_huge_pmd", "copy_page_range"), ("pgtable_user", "pte", "deposited")),
        (("do_huge_pmd_anonymous_page", "__handle_mm_fault"), ("pgtable_user", "pte", "deposited")),  # arm64, inlined
        (("__do_fault", "do_fault"), ("pgtable_user", "pte", "preallocated")),
        (("__pmd_alloc", "__handle_mm_fault"), ("pgtable_user", "pmd", "linked")),
        (("__pmd_alloc", "vmap_pages_range_noflush", "vmap"), ("pgtable_kernel", "pmd", "linked")),
        (("__pte_alloc_kernel", "vmap_small_pages_range_noflush"), ("pgtable_kernel", "pte", "linked")),
        (("get_free_pages_noprof", "pgd_alloc", "mm_init"), ("pgtable_user", "pgd", "linked")),
        (("__change_page_attr", "__change_page_attr_set_clr"), ("direct_map_split", None, None)),
        (("__pgd_pgtable_alloc", "split_pmd", "split_kernel_leaf_mapping"), ("direct_map_split", None, None)),
        (("tlb_remove_table", "___pte_free_tlb", "free_pgd_range"), ("other", None, None)),
        (("allocate_slab.isra.0", "kmem_cache_alloc", "pgd_alloc"), ("other", None, None)),
        (("secretmem_fault", "__do_fault", "do_fault"), ("secret", None, None)),
        (("mmu_memory_cache_alloc_obj", "__kvm_mmu_topup_memory_cache"), ("kvm", None, None)),
        (("do_anonymous_page", "__handle_mm_fault"), ("other", None, None)),
    ],
)
def test_classify(frames: tuple[str, ...], expected: tuple[str, str | None, str | None]) -> None:
    assert classify((*ALLOC, *frames)) == expected


def test_the_huge_page_itself_is_no_table() -> None:
    assert classify(("folio_alloc_mpol_noprof", "vma_alloc_folio_noprof", "do_huge_pmd_anonymous_page"))[0] == "other"


def test_rules_use_the_vocabulary() -> None:
    found = {rule.result for entries in rules().values() for rule in entries}
    assert {consumer for consumer, _, _ in found} == set(CONSUMERS)
    assert {level for _, level, _ in found} == {*LEVELS, None}
    assert {role for _, _, role in found} == {*ROLES, None}


def test_frames_of_every_spelling() -> None:
    ftrace = (
        " => trace_event_raw_event_mm_page_alloc\n => a+0x5c/0x88\n => b (ffffffff8136c2a3)\n => 0xffffffffc0123456\n"
    )
    assert frames_of(ftrace) == ("a", "b", "0xffffffffc0123456")
    perf = "\tffffffff813bdb88 a+0x228 ([kernel.kallsyms])\n\tffffffff813bdb89 [unknown] ([ext4])\n\tb ([kernel.kallsyms])\n\tc+0x1\n"
    assert frames_of(perf) == ("a", "0xffffffff813bdb89", "b", "c")


@pytest.mark.parametrize(
    ("stack", "frame", "named"),
    [
        (" => ffffffff8111e8e6\n", "0xffffffff8111e8e6", False),
        (" => (c011e8e6)\n", "0xc011e8e6", False),
        ("\tffffffff8111e8e6 [unknown] ([unknown])\n", "0xffffffff8111e8e6", False),
        ("\t[unknown] ([kernel.kallsyms])\n", "[unknown]", False),
        (" => __alloc_pages <ffffffff8111e8e6>\n", "__alloc_pages", True),
    ],
)
def test_frames_without_names(stack: str, frame: str, named: bool) -> None:
    assert frames_of(stack) == (frame,)
    assert has_names(frames_of(stack)) is named
