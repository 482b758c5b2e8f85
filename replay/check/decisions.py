"""Decisions under way: a generator cannot be copied, so what each one does after which results is remembered."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ptpool.vocabulary import UNMOVABLE
from replay.check.toy import BLOCK_ORDER, REGION_SHIFT, Toy, region_of
from replay.contract import actions as act
from replay.contract.strategy import PoolView, Strategy


class Returned(NamedTuple):
    """A decision has ended."""

    value: Any


class Stage:
    """A decision as far as it has come. Those of a kind with the same results and views are at the same stage."""

    __slots__ = ("kind", "name", "next", "regions", "results", "shape", "sights", "start", "wants")

    def __init__(
        self, start: tuple[str, int], results: tuple[Any, ...], sights: tuple[object, ...], wants: Any
    ) -> None:
        self.start, self.results, self.sights = start, results, sights
        """Its kind and argument, the results of its actions, and what it saw of the pool."""
        self.kind = start[0]
        self.wants = wants
        """The action that it wants next, or `Returned`."""
        self.next: dict[Any, _Known] = {}
        """What comes after it, by the result of that action."""
        self.regions: tuple[int, ...] = ()
        """The chunks that it was told of, in the order in which they are met."""
        self.name = 0
        """The same for stages that differ only in which chunks these are."""
        self.shape = 0
        """The same for stages with as many results that want a like action."""


class _Question(NamedTuple):
    """A decision looks at the pool: what is known of it, by what it sees."""

    ask: Callable[[Toy], Any]
    known: "dict[Any, _Known]"


_Known = Stage | _Question


class Decisions:
    """The decisions of a strategy.

    They depend on results and views only, so each is run once for the same of these: again from its beginning, with
    what it was told and has seen before.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy, self._key_each = strategy, strategy.fast_path().key_each
        self._begun: dict[Any, _Known] = {}
        self._names: dict[Any, int] = {}
        self._shapes: dict[Any, int] = {}

    def begin(self, kind: str, argument: int, toy: Toy) -> Stage:
        """A new decision, up to its first action."""
        start = (kind, argument)
        return _follow(self._begun, start, toy) or self._run(self._begun, start, start, (), (), toy)

    def go_on(self, stage: Stage, result: Any, toy: Toy) -> Stage:
        """The decision that has this result of its action, up to its next one."""
        known = _follow(stage.next, result, toy)
        if known is not None:
            return known
        return self._run(stage.next, result, stage.start, (*stage.results, result), stage.sights, toy)

    def _run(
        self,
        known: dict[Any, _Known],
        key: Any,
        start: tuple[str, int],
        results: tuple[Any, ...],
        sights: tuple[object, ...],
        toy: Toy,
    ) -> Stage:
        """Run a decision up to the action after its last result, and remember the way there."""
        view = _View(toy, sights)
        decision = self._decision(*start, view)
        wants: Any = None
        try:
            wants = next(decision)
            for result in results:
                wants = decision.send(result)
        except StopIteration as stop:
            wants = Returned(stop.value)
        for ask, seen in zip(view.questions, view.sights[len(sights) :], strict=True):
            question = known.setdefault(key, _Question(ask, {}))
            assert isinstance(question, _Question), "a decision depends on more than results and views"
            known, key = question.known, seen
        stage = Stage(start, results, tuple(view.sights), wants)
        self._name(stage)
        known[key] = stage
        return stage

    def _name(self, stage: Stage) -> None:
        names = _Names()
        told = (stage.start, names.of(stage.results), names.of(stage.sights), names.of(stage.wants))
        shape = (stage.start, len(stage.results), type(stage.wants).__name__)
        stage.regions = tuple(names.known)
        stage.name = self._names.setdefault(told, len(self._names))
        stage.shape = self._shapes.setdefault(shape, len(self._shapes))

    def _decision(self, kind: str, argument: int, view: PoolView) -> act.Decision:
        strategy = self._strategy
        match kind:
            case "boot":
                return strategy.boot(view)
            case "refill":
                return strategy.refill(view, 0)
            case "outside":
                return strategy.outside(view, act.Change(-argument, 1, 0))
            case "table":
                return self._table(view)
            case "free":
                return self._free(argument)
        if strategy.falls_back:
            return strategy.fall_back(view, 0, UNMOVABLE)
        return strategy.shrink(view)

    def _table(self, view: PoolView) -> act.Decision:
        """A page table straight from the page allocator; the key with it where each table gets one."""
        chunk = yield act.Alloc(0)
        if chunk is not None and self._key_each:
            yield from self._strategy.construct(view, chunk)
        return chunk

    def _free(self, page: int) -> act.Decision:
        """The page table goes back to the page allocator, without its key."""
        if self._key_each:
            yield act.ResetKey(act.Chunk(page, 0), act.Tables.BUDDY)
        yield act.Free(act.Chunk(page, 0))


def _follow(known: dict[Any, _Known], key: Any, toy: Toy) -> Stage | None:
    found = known.get(key)
    while isinstance(found, _Question):
        found = found.known.get(found.ask(toy))
    return found


class _Names:
    """Chunks by the order in which they are met."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def of(self, value: Any) -> Any:
        """A value with the chunks in it called by their names."""
        if isinstance(value, act.Chunk):
            return self._of_page(value.pfn), value.order
        if isinstance(value, act.Change) and value.pfn >= 0:
            return self._of_page(value.pfn), *value[1:]
        if isinstance(value, tuple):
            return type(value).__name__, *map(self.of, value)
        return value

    def _of_page(self, page: int) -> int:
        return self.known.setdefault(page >> REGION_SHIFT, len(self.known))


class _View(PoolView):
    """The pool as a decision sees it: first what it saw before, then what is there now."""

    def __init__(self, toy: Toy, sights: tuple[object, ...]) -> None:
        self._toy, self.sights, self._at = toy, list(sights), 0
        self.questions: list[Callable[[Toy], Any]] = []
        """What it asks for what it had not seen before."""

    def _see(self, ask: Callable[[Toy], Any]) -> Any:
        if self._at == len(self.sights):
            self.sights.append(ask(self._toy))
            self.questions.append(ask)
        self._at += 1
        return self.sights[self._at - 1]

    @property
    def block_order(self) -> int:
        """A block's."""
        return BLOCK_ORDER

    @property
    def cached(self) -> int:
        """Pages on the list."""
        seen: int = self._see(lambda toy: len(toy.pool))
        return seen

    def tables_needed(self, change: act.Change) -> int:
        """Tables that a change takes: for one elsewhere the adversary has said so (its first page number)."""
        if change.pfn < 0:
            return -change.pfn
        chunk = act.Chunk(change.pfn, change.pages.bit_length() - 1)
        seen: int = self._see(lambda toy: toy.tables_for(chunk) if region_of(chunk.pfn) in toy.leaf else 0)
        return seen

    @property
    def tables_for_4k(self) -> int:
        """What is set aside covers the worst case: how much that is does not matter here."""
        return 0

    @property
    def largest_free(self) -> int:
        """A block: the adversary can refuse it."""
        return BLOCK_ORDER

    def idle_chunks(self) -> list[act.Chunk]:
        """What idle pages have merged into."""
        return list(self._see(lambda toy: tuple(toy.chunks())))

    def idle_blocks(self) -> list[tuple[int, int, bool]]:
        """Idle pages by block, and whether it is whole."""
        return list(self._see(Toy.idle_blocks))

    def idle_pages(self, first: int) -> list[int]:
        """Idle pages of a block."""
        return list(self._see(lambda toy: toy.idle_pages(first)))
