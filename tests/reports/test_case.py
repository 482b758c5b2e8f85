"""Facts of a case: maps that are all 4K, sizes of blocks."""

from report_case import facts

from reports.case import Case


def test_pte_mapped_alone_does_not_make_a_map_all_4k() -> None:
    assert not facts(unprotected={}, pte_mapped={"pte_share_start": 1.0}).all_4k


def test_blocks_are_those_of_the_machines_pages() -> None:
    small, large = (Case({"page_size": size}, {}) for size in (4096, 65536))
    assert (small.block_pages, small.leaf_names["2M"]) == (512, "2M")
    assert (large.block_pages, large.leaf_names["2M"], large.leaf_names["4K"]) == (8192, "512M", "64K")
