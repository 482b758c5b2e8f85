"""The compiled page owners against the slow ones."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_ownership import ReferencePages

from ingest import ownership
from ingest.ownership import OUTCOMES, PageOwners
from ingest.trace import ROW
from ptpool.vocabulary import KIND_ALLOC, KIND_FREE

BASE = ownership._CHUNK - 8  # so that blocks lie in two chunks

steps = st.lists(
    st.tuples(st.sampled_from([KIND_ALLOC, KIND_ALLOC, KIND_FREE]), st.integers(0, 3), st.integers(0, 15)), max_size=40
)
snapshots = st.lists(st.integers(0, 15), max_size=5)


@settings(max_examples=400, deadline=None)
@given(snapshots, steps, st.integers(0, 40))
def test_as_the_reference(alive: list[int], steps: list[tuple[int, int, int]], cut: int) -> None:
    pages, reference, outcomes = PageOwners(), ReferencePages(), Counter[str]()
    pfns = np.array(sorted({BASE + page for page in alive}), np.int64)
    pages.seed(pfns, pfns, 9)
    for pfn in pfns.tolist():
        reference.seed(pfn, pfn, 9)
    rows = np.zeros(len(steps), ROW)
    expected = []
    for place, (kind, order, page) in enumerate(steps):
        pfn = BASE + (page >> order << order)
        rows[place]["kind"], rows[place]["order"], rows[place]["pfn"] = kind, order, pfn
        if kind == KIND_ALLOC:
            wrong = reference.alloc(pfn, order, place % 7 + 1)
            outcomes.update([wrong] if wrong else [])
            expected.append(place % 7 + 1)
        else:
            owner, met = reference.free(pfn, order)
            outcomes.update(met)
            expected.append(owner)
    classes = (np.arange(len(steps)) % 7 + 1).astype(np.uint8)
    found = [
        pages.follow(part, part_classes, 0, 0)
        for part, part_classes in ((rows[:cut], classes[:cut]), (rows[cut:], classes[cut:]))
    ]
    assert np.concatenate(found).tolist() == expected
    assert dict(zip(OUTCOMES, pages.outcomes.tolist(), strict=True)) == {name: outcomes[name] for name in OUTCOMES}
