"""What decisions do is remembered by their results and by what they see, and by nothing else."""

from replay.check.decisions import Decisions, Returned
from replay.check.toy import Toy
from replay.contract.actions import Alloc, Chunk, Lock
from replay.contract.strategy import FastPath, Strategy


class _Looks(Strategy):
    runs = 0

    def fast_path(self):
        return FastPath(pooled=True)

    def refill(self, pool, order):
        type(self).runs += 1
        chunk = yield Alloc(0)
        yield Lock("empty" if pool.cached == 0 else "filled")
        return chunk


def test_a_decision_is_run_once_for_the_same_results_and_views():
    empty, filled = Toy(), Toy(pool=(1,))
    decisions = Decisions(_Looks())
    begun = decisions.begin("refill", 0, empty)
    assert begun is decisions.begin("refill", 0, filled), "it has not looked at the pool yet"
    after = [decisions.go_on(begun, Chunk(64 * number, 0), toy) for number in (0, 1) for toy in (empty, filled)]
    assert [stage.wants.name for stage in after] == ["empty", "filled"] * 2
    runs = _Looks.runs
    again = [decisions.go_on(begun, Chunk(64 * number, 0), toy) for number in (0, 1) for toy in (empty, filled)]
    assert all(one is other for one, other in zip(after, again, strict=True))
    assert _Looks.runs == runs == 5
    assert after[0].name == after[2].name != after[1].name, "which chunk it is does not matter"
    assert (after[0].regions, after[2].regions) == ((0,), (1,))
    assert decisions.go_on(after[3], None, empty).wants == Returned(Chunk(64, 0))
