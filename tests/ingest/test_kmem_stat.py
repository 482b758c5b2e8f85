"""The totals of ``perf kmem --page stat``, which ran on the recorded machine, number for number."""

import re
from collections.abc import Callable

import pytest
from captures import folder_of

COLUMNS = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA")  # perf's names of 1 to 3 are an old kernel's


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fork-2g", "sharedmem-8g"])
def test_as_perf_counts(name: str, ingest: Callable[..., int], query: Callable[..., list[tuple[object, ...]]]) -> None:
    text = (folder_of(name) / "perf_kmem_page_stat.txt").read_text()
    totals = re.findall(r"^Total ([\w +-]+?) +: +(\d+) +\[ +(\d+) KB \]", text, re.MULTILINE)
    assert len(totals) == 6
    cells = [
        (int(order), column, int(count))
        for order, counts in re.findall(r"^ +(\d+) ((?: +(?:\d+|\.)){5})$", text, re.MULTILINE)
        for column, count in zip(COLUMNS, counts.split(), strict=True)
        if count != "."
    ]
    assert len(cells) > 5
    assert ingest(folder_of(name) / "perf.script.txt.zst") == 0
    assert query("SELECT what, requests, kb FROM kmem_page_stat") == [(w, int(n), int(kb)) for w, n, kb in totals]
    assert sorted(query("SELECT page_order, migratetype, allocations FROM kmem_page_order")) == sorted(cells)
