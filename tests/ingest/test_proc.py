"""The /proc snapshots as rows."""

import pytest

from ingest.snapshots.proc import Lines, MalformedError, memory_end, zoneinfo

ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 7
  pages free     3840
        min      4
        spanned  4095
        protection: (0, 1930, 15984)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count:    11
              high_min: 28
  vm stats threshold: 4
    cpu: 12
              count:    0
  vm stats threshold: 4
  node_unreclaimable:  0
  start_pfn:           1
Node 1, zone   Normal
  pages free     5
        spanned  100
  pagesets
    cpu: 12
              count:    9
  start_pfn:           65536
"""


def test_pagesets_are_apart_from_the_values_of_zones() -> None:
    values, pagesets = zoneinfo(Lines(ZONEINFO.splitlines()))
    assert values == [
        ("Node 0, zone DMA, pages free", 3840),
        ("Node 0, zone DMA, min", 4),
        ("Node 0, zone DMA, spanned", 4095),
        *((f"Node 0, zone DMA, protection[{i}]", pages) for i, pages in enumerate((0, 1930, 15984))),
        ("Node 0, zone DMA, nr_free_pages", 3840),
        ("Node 0, zone DMA, node_unreclaimable", 0),
        ("Node 0, zone DMA, start_pfn", 1),
        ("Node 1, zone Normal, pages free", 5),
        ("Node 1, zone Normal, spanned", 100),
        ("Node 1, zone Normal, start_pfn", 65536),
    ]
    assert pagesets == [
        (0, "DMA", 0, "count", 11),
        (0, "DMA", 0, "high_min", 28),
        (0, "DMA", 0, "vm stats threshold", 4),
        (0, "DMA", 12, "count", 0),
        (0, "DMA", 12, "vm stats threshold", 4),
        (1, "Normal", 12, "count", 9),
    ]
    assert memory_end(dict(values)) == 65636
    assert memory_end({}) is None


def test_values_before_the_first_zone_are_refused() -> None:
    with pytest.raises(MalformedError, match="line 1: pages free"):
        zoneinfo(Lines(ZONEINFO.splitlines()[3:]))
