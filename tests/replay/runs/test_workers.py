"""Units of work in other processes: shared arrays, failures with their reason, workers that die."""

import os
import weakref

import pytest
from units import DATA, die, die_once, total

from ptpool.errors import UsageError
from replay.runs.workers import Failure, local_workers


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_results_and_reasons(jobs):
    numbers = DATA.copy()
    with local_workers(jobs) as workers:
        there = workers.share((numbers, "text"))
        results = dict(workers.run(total, there, [1, 2, 13]))
    assert (results[1], results[2]) == (499_500, 999_000)
    assert isinstance(results[13], Failure)
    assert results[13].reason.startswith("ValueError: thirteen (units.py, line ")
    assert (numbers == DATA).all()


def test_a_killed_worker_loses_nothing(tmp_path):
    with local_workers(2) as workers:
        there = workers.share((DATA, str(tmp_path / "died")))
        results = dict(workers.run(die_once, there, range(8)))
        again = dict(workers.run(die_once, there, range(2)))
    assert sorted(results) == list(range(8))
    assert all(isinstance(pid, int) and pid != os.getpid() for pid in [*results.values(), *again.values()])


def test_units_that_always_kill_their_worker_fail():
    with local_workers(2) as workers:
        results = dict(workers.run(die, workers.share(DATA), [1, 2]))
    assert results == dict.fromkeys([1, 2], Failure("its worker died: killed, or out of memory?"))


class Large:
    """What is shared, where a second would not fit."""


def kept_apart(shared, unit):
    return isinstance(shared, Large)


def test_a_single_process_holds_one_shared_value_at_a_time():
    made = []

    def groups(workers):
        for _ in range(3):
            assert all(earlier() is None for earlier in made)
            value = workers.share(Large())
            made.append(weakref.ref(value.value))
            yield value, [1, 2]
            del value

    with local_workers(1) as workers:
        assert [result for _, result in workers.run_groups(kept_apart, groups(workers))] == [True] * 6


def refuses(shared, unit):
    raise UsageError(f"{unit} does not fit", "take another")


def test_what_is_refused_is_told_from_what_broke():
    with local_workers(1) as workers:
        assert list(workers.run(refuses, workers.share(DATA), [1])) == [(1, Failure("1 does not fit", refused=True))]
