"""What happened without an event, found by the compiled pass and by a slow reading of the same rules."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.demand.unseen import KEEP, LEAVE_OUT, MOVED, SEEN_LATE, gone_from_lists, resolve

PAGES = 16

events = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, PAGES - 1), st.booleans(), st.booleans()).map(
        lambda e: (e[0], e[2] >> e[1] << e[1], e[1], e[0] and e[3], e[0] and e[4] and not e[3])
    ),
    max_size=40,
)


def slowly(rows, free):
    """The rules of replay.demand.unseen in plain words: sets of pages, a list of names that wait."""
    free, last, waiting, named, found = set(free), {}, [], 0, []
    for at, (is_free, first, order, by_compaction, *by_kworker) in enumerate(rows):
        pages = set(range(first, first + (1 << order)))
        fate, name, since = KEEP, -1, -1
        if by_compaction and len(pages) == 1 and not pages & free:
            fate, name = MOVED, PAGES + named
            waiting.append(name)
            named += 1
        elif is_free and pages <= free:
            if by_compaction or len(pages) > 1:
                fate = LEAVE_OUT
            elif waiting and by_kworker != [True]:
                name = waiting.pop(0)
            else:
                fate, since = SEEN_LATE, last.get(first, -1)
        free = free | pages if is_free else free - pages
        last.update(dict.fromkeys(pages, at))
        found.append((fate, name, since))
    return found


def resolved(rows, free):
    columns = np.array([(*row, 0)[:5] for row in rows], np.int64).reshape(-1, 5)
    at_start = np.zeros(PAGES, np.bool_)
    at_start[list(free)] = True
    return list(
        zip(
            *(
                column.tolist()
                for column in resolve(
                    columns[:, 0].astype(np.bool_),
                    columns[:, 1].copy(),
                    columns[:, 2].astype(np.int8),
                    columns[:, 3].astype(np.bool_),
                    columns[:, 4].astype(np.bool_),
                    at_start,
                )
            ),
            strict=True,
        )
    )


@settings(deadline=None)
@given(events, st.sets(st.integers(0, PAGES - 1)))
def test_the_compiled_pass_is_the_slow_one(rows, free):
    assert resolved(rows, free) == slowly(rows, free)


def test_a_page_freed_while_it_is_free_was_allocated_in_between():
    """vmalloc's pages come from alloc_pages_bulk(), which has no event; their frees have."""
    rows = [(False, 1, 0, False), (True, 1, 0, False), (False, 5, 0, False), (True, 1, 0, False), (True, 7, 0, False)]
    assert resolved(rows, {7})[3:] == [(SEEN_LATE, -1, 1), (SEEN_LATE, -1, -1)]


def test_what_compaction_moves_is_freed_where_it_went():
    """Page 2 goes to page 9 (taken without an event); 9 is freed later, and stands for the data of page 2."""
    rows = [(False, 2, 0, False), (True, 2, 0, True), (False, 2, 0, False), (True, 9, 0, False)]
    assert resolved(rows, {9}) == [(KEEP, -1, -1), (MOVED, PAGES, -1), (KEEP, -1, -1), (KEEP, PAGES, -1)]


def test_isolated_blocks_that_compaction_gives_back_are_left_out():
    assert resolved([(True, 4, 2, False), (True, 8, 0, True)], {4, 5, 6, 7, 8}) == [(LEAVE_OUT, -1, -1)] * 2


def test_what_a_kworker_frees_is_not_what_compaction_moved():
    """Kernel stacks are vmalloc's: their pages never move."""
    rows = [(False, 2, 0, False), (True, 2, 0, True), (True, 9, 0, False, True), (True, 8, 0, False)]
    assert resolved(rows, {8, 9})[2:] == [(SEEN_LATE, -1, -1), (KEEP, PAGES, -1)]


lists = st.lists(
    st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, PAGES - 1), st.integers(-1, 1)).map(
        lambda e: (e[0], e[2] >> e[1] << e[1], e[1], -1 if e[1] else e[3])
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=300)
@given(lists, st.data())
def test_a_page_is_gone_when_an_older_one_is_handed_out(rows, data):
    """The rule in plain words: of all allocations from its list before it is freed, the first of an older page."""
    frees = [at for at, (is_free, _, _, listed) in enumerate(rows) if is_free and listed >= 0]
    since = data.draw(st.lists(st.sampled_from(frees), unique=True)) if frees else []
    late = [data.draw(st.integers(at + 1, len(rows))) for at in since]
    columns = np.array(rows, np.int64).reshape(-1, 4)
    gone = gone_from_lists(
        columns[:, 0].astype(np.bool_),
        columns[:, 1].copy(),
        columns[:, 2].astype(np.int8),
        columns[:, 3].copy(),
        np.array([-1, *since], np.int64),
        np.array([len(rows), *late], np.int64),
    )

    def age(page, before):
        touched = [at for at in range(before) if rows[at][1] <= page < rows[at][1] + (1 << rows[at][2])]
        return max(touched, default=-1)

    expected = [
        next(
            (
                at
                for at in range(put + 1, end)
                if not rows[at][0] and rows[at][3] == rows[put][3] and age(rows[at][1], at) < put
            ),
            -1,
        )
        for put, end in zip(since, late, strict=True)
    ]
    assert gone.tolist() == [-1, *expected]
