"""The search: an adversary chooses what happens next and the result of every action, until an invariant breaks.

Stateless model checking that keeps the states seen: breadth first, so the first violation found is a shortest one.
Tasks are preempted between any two actions; an action itself is atomic (the kernel splits under one lock: cpa_lock with
pgd_lock on x86, pgtable_split_lock on arm64).
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, assert_never

from replay.check import toy as toys
from replay.check import words
from replay.check.decisions import Decisions, Returned
from replay.check.moments import Frame, State, Tasks, key_of
from replay.check.toy import BrokenInvariantError, Toy
from replay.contract import actions as act
from replay.contract.strategy import Strategy
from replay.kernel.leaves import KEYED, PMD, PTE, PUD

REFILL_TRIES = 8
"""How often the replay looks again after a refill."""


@dataclass(frozen=True)
class Scenario:
    """What may happen."""

    tasks: int
    outside: int
    """Most tables that a permission change by others takes; 0: others change nothing."""

    def __str__(self) -> str:
        who = "1 task" if self.tasks == 1 else f"{self.tasks} tasks"
        return f"{who}, {f'others split too, up to {self.outside} tables' if self.outside else 'no splits by others'}"


@dataclass(frozen=True)
class Verdict:
    """What a search found."""

    scenario: Scenario
    states: int
    depth: int
    """Steps searched exhaustively."""
    complete: bool
    """Whether there was nothing more to search: it holds for any number of steps."""
    kind: str = ""
    """The invariant that does not hold; empty: all do."""
    steps: tuple[str, ...] = ()


MOST_STATES = 400_000
"""States kept in memory, about half a GB; a search that meets more ends at the last depth it has searched whole."""


def search(strategy: Strategy, scenario: Scenario, depth: int) -> Verdict:
    """Search breadth first up to `depth` steps: a step is an event, or an action of a decision.

    The parameters of the strategy have to fit the toy machine.
    """
    checker = _Checker(strategy, scenario)
    try:
        start = checker.start()
    except BrokenInvariantError as broken:
        return Verdict(scenario, 1, 0, False, broken.kind, (f"at boot: {broken}",))
    seen = {key_of(start, blocks=checker.shrinks)}
    level: deque[tuple[State, _Way]] = deque([(start, None)])
    for reached in range(depth):
        following: deque[tuple[State, _Way]] = deque()
        while level:
            state, way = level.popleft()
            enabled = False
            for number, step in enumerate(checker.steps(state)):
                enabled = True
                try:
                    after = step.take()
                except BrokenInvariantError as broken:
                    steps = (*_told(checker, start, (way, number)), str(broken))
                    return Verdict(scenario, len(seen), reached + 1, False, broken.kind, steps)
                if (key := key_of(after, blocks=checker.shrinks)) not in seen:
                    seen.add(key)
                    following.append((after, (way, number)))
            if not enabled:
                steps = (*_told(checker, start, way), words.ALL_WAIT)
                return Verdict(scenario, len(seen), reached, False, "deadlock", steps)
            if len(seen) > MOST_STATES:
                return Verdict(scenario, len(seen), reached, False)
        level = following
        if not level:
            return Verdict(scenario, len(seen), reached, True)
    return Verdict(scenario, len(seen), depth, False)


_Way = tuple["_Way", int] | None
"""How a state was reached: from which, and by which of the steps that were possible there; None: it is the first."""


class _Step(NamedTuple):
    """Something that can happen next: in words, and the moment after it."""

    tell: Callable[[], str]
    take: Callable[[], State]


def _told(checker: "_Checker", state: State, way: _Way) -> Iterator[str]:
    """Walk the way again from the first state, and tell its steps. The last one is not taken."""
    numbers: list[int] = []
    while way is not None:
        way, number = way
        numbers.append(number)
    while numbers:
        step = next(islice(checker.steps(state), numbers.pop(), None))
        yield step.tell()
        state = step.take() if numbers else state


class _Checker:
    def __init__(self, strategy: Strategy, scenario: Scenario) -> None:
        self._strategy, self._scenario = strategy, scenario
        fast = strategy.fast_path()
        self._pooled, self._reserve, self._key_each = fast.pooled, fast.reserve, fast.key_each
        self._batch, self._merges, self._users = fast.cpu_batch, fast.merges and not fast.users, fast.users
        self._decisions = Decisions(strategy)
        self._levels = (PTE,) if strategy.boot_map_4k else (PUD, PMD, PTE)
        self.shrinks = strategy.shrinks or strategy.falls_back

    # ------------------------------------------------------------------------------------------- moments

    def start(self) -> State:
        """After boot, when ordinary requests have drawn the pool down to its reserve."""
        toy = Toy(merges=self._merges, key_each=self._key_each, users=self._users)
        state = self._begin(State(toy, ((),) * self._scenario.tasks), 0, "boot", 0)
        while state.tasks[0]:
            frame = state.tasks[0][-1]
            if isinstance(frame.stage.wants, act.Alloc):
                result: Any = toy.allocate(frame.stage.wants.order, self._levels[0], 0)
            else:
                result = self._perform(state, 0, frame)
            state = self._go_on(state, 0, frame, result)
        while self._pooled and toy.can_serve(0, self._reserve):
            toy.hand_out(0, self._reserve, self._batch)
        return state

    def steps(self, state: State) -> Iterator[_Step]:
        """Everything that can happen next."""
        begun = False
        for task, frames in enumerate(state.tasks):
            if frames:
                yield from self._actions(state, task, frames[-1])
            elif not begun or self._batch:  # idle tasks are alike, unless their CPUs have lists
                begun = True
                yield from self._events(state, task)

    # -------------------------------------------------------------------------------------------- events

    def _events(self, state: State, task: int) -> Iterator[_Step]:
        toy, reserve = state.toy, self._reserve
        if self._pooled and toy.can_serve(task, reserve):
            yield _Step(partial(words.served, task, toy), partial(self._served, state, task))
        elif self._pooled:
            yield _Step(partial(words.refills, task, toy, reserve), partial(self._event, state, task, "refill"))
        else:
            yield _Step(partial(words.asks, task), partial(self._event, state, task, "table"))
        for page in _one_of_each_chunk(toy, toys.IN_USE):
            yield _Step(partial(words.frees, task), partial(self._freed, state, task, page))
        if toy.pool and self.shrinks:
            tell = partial(words.shrinks, task, self._strategy.falls_back)
            yield _Step(tell, partial(self._event, state, task, "shrink"))
        if not self._strategy.boot_map_4k:
            for tables in range(1, self._scenario.outside + 1):
                yield _Step(partial(words.changes, task, tables), partial(self._event, state, task, "outside", tables))

    def _event(self, state: State, task: int, kind: str, argument: int = 0) -> State:
        return self._begin(State(state.toy.copy(), state.tasks), task, kind, argument)

    def _served(self, state: State, task: int) -> State:
        toy = state.toy.copy()
        toy.hand_out(task, self._reserve, self._batch)
        return State(toy, state.tasks)

    def _freed(self, state: State, task: int, page: int) -> State:
        if self._pooled:
            toy = state.toy.copy()
            toy.put_back(page, task, self._batch)
            return State(toy, state.tasks)
        return self._event(state, task, "free", page)

    # ------------------------------------------------------------------------------------------- actions

    def _actions(self, state: State, task: int, frame: Frame) -> Iterator[_Step]:
        toy, action = state.toy, frame.stage.wants
        if isinstance(action, act.Alloc):
            for level in self._levels if toy.memory_left else ():
                tell = partial(words.allocated, task, action.order, level)
                yield _Step(tell, partial(self._allocated, state, task, frame, action.order, level))
            if frame.stage.kind == "boot":
                return  # a machine on which that does not fit is refused
            yield _Step(partial(words.allocated, task, action.order, None), partial(self._refused, state, task, frame))
            if self._may_reclaim(state, task, frame):
                tell = partial(words.reclaims, task, self._strategy.falls_back)
                yield _Step(tell, partial(self._event, state, task, "reclaim"))
        elif isinstance(action, act.Isolate):
            for pages in range(2):
                tell = partial(words.isolated, task, pages)
                yield _Step(tell, partial(self._isolated, state, task, frame, action.chunk, pages))
        elif isinstance(action, act.Lock) and toy.locks.get(action.name, task) != task:
            return  # waits
        else:
            yield _Step(partial(words.acts, task, action, toy), partial(self._acted, state, task, frame))

    def _may_reclaim(self, state: State, task: int, frame: Frame) -> bool:
        """Direct reclaim enters the shrinker once for a request, and not from within itself."""
        return (
            self.shrinks
            and all(outer.stage.kind not in ("shrink", "reclaim") for outer in state.tasks[task])
            and not frame.tries & _RECLAIMED
        )

    def _allocated(self, state: State, task: int, frame: Frame, order: int, level: int) -> State:
        after = State(state.toy.copy(), state.tasks)
        return self._go_on(after, task, frame, after.toy.allocate(order, level, task))

    def _isolated(self, state: State, task: int, frame: Frame, chunk: act.Chunk, pages: int) -> State:
        """Nothing else is free in the block, or one page after the chunk."""
        after = State(state.toy.copy(), state.tasks)
        others = tuple(after.toy.isolate(chunk, task) for _ in range(pages))
        return self._go_on(after, task, frame, others)

    def _refused(self, state: State, task: int, frame: Frame) -> State:
        after = State(state.toy.copy(), state.tasks)
        return self._go_on(after, task, frame._replace(refused=True), None)

    def _acted(self, state: State, task: int, frame: Frame) -> State:
        after = State(state.toy.copy(), state.tasks)
        return self._go_on(after, task, frame, self._perform(after, task, frame))

    def _perform(self, state: State, task: int, frame: Frame) -> Any:
        """Carry out an action whose result the adversary does not choose."""
        toy, whose = state.toy, _WHOSE[frame.stage.kind]
        action: act.Action = frame.stage.wants
        match action:
            case act.Free(chunk):
                toy.free(chunk)
            case act.SetKey(chunk, tables, unlock):
                if unlock:
                    toy.unlock(unlock)
                self._split(toy, toy.tables_for(chunk), tables, whose, chunk)
                toy.was_split(chunk)
                toy.set_key(chunk)
                return True
            case act.ResetKey(chunk, tables, _):
                self._split(toy, toy.tables_for(chunk), tables, whose)
                toy.was_split(chunk)
                toy.clear_key(chunk)
                return True
            case act.Convert(change, tables, _):
                chunk = act.Chunk(change.pfn, change.pages.bit_length() - 1)
                self._split(toy, toy.tables_for(chunk), tables, whose, chunk)
                toy.was_split(chunk)
                if change.set_bits & KEYED:
                    toy.set_key(chunk)
                if change.clear_bits & KEYED:
                    toy.clear_key(chunk)
                return True
            case act.MapSmall(chunk, tables):
                small = act.Chunk(chunk.pfn, 0)
                self._split(toy, toy.tables_for(small), tables, whose)
                toy.was_split(small)
                return True
            case act.Apply(change, tables):
                needed = -change.pfn
                if frame.refused and tables is act.Tables.POOL and needed > len(toy.pool):
                    return False  # -ENOMEM: memory is short, as it can be on every kernel
                self._split(toy, needed, tables, whose)
                return True
            case act.Give(chunk, None) if self._users:
                toy.share(chunk)
            case act.Give(chunk) | act.GiveBlock(chunk):
                toy.give(chunk)
            case act.GiveRest(chunk, order):
                return toy.give_rest(chunk, order, task)
            case act.SetAside(_) | act.Mark(_):
                pass  # the worst case is covered; others have no pages here
            case act.Take(order) if self._users:
                return toy.take_unmapped(order, task)
            case act.Take(_):
                if not toy.pool:
                    return None
                page = toy.pool[0]
                toy.withdraw(act.Chunk(page, 0), task)
                return act.Chunk(page, 0)
            case act.Withdraw(chunk):
                return toy.withdraw(chunk, task)
            case act.Lock(name):
                if toy.locks.get(name) == task:
                    raise BrokenInvariantError("deadlock", f"{words.task(task)} waits for {name}, which it holds")
                toy.lock(name, task)
            case act.Unlock(name):
                toy.unlock(name)
            case act.Alloc() | act.Isolate() | act.Wait() | act.Walk() | act.Warn():
                pass  # the adversary's to choose; the toy machine has no clock and no log
            case _:
                assert_never(action)
        return None

    @staticmethod
    def _split(
        toy: Toy, needed: int, tables: act.Tables | tuple[act.Chunk, ...], whose: str, chunk: act.Chunk | None = None
    ) -> None:
        if isinstance(tables, tuple):
            for table in tables:
                toy.use(table.pfn, toys.SPLIT_TABLE)
        elif tables is act.Tables.POOL:
            toy.take_tables(needed, whose)
        elif tables is act.Tables.OWN and chunk is not None:
            for page in range(chunk.pfn, chunk.pfn + needed):
                toy.use(page, toys.SPLIT_TABLE)
        elif tables is act.Tables.BUDDY and needed:
            raise BrokenInvariantError("unkeyed_table", f"{whose} uses a table of the direct map without the key")

    # ----------------------------------------------------------------------------------------- decisions

    def _begin(self, state: State, task: int, kind: str, argument: int, tries: int = 0) -> State:
        if kind == "free":
            state.toy.move([argument], task)
        return self._settle(state, task, Frame(self._decisions.begin(kind, argument, state.toy), tries))

    def _go_on(self, state: State, task: int, frame: Frame, result: Any) -> State:
        """Give a decision the result of its action."""
        stage = self._decisions.go_on(frame.stage, result, state.toy)
        state = State(state.toy, _with(state.tasks, task, state.tasks[task][:-1]))
        return self._settle(state, task, Frame(stage, frame.tries & ~_RECLAIMED, frame.refused))

    def _settle(self, state: State, task: int, frame: Frame) -> State:
        """Put a decision on its task's stack, or act on its result if it has ended."""
        stage = frame.stage
        if not isinstance(stage.wants, Returned):
            return State(state.toy, _with(state.tasks, task, (*state.tasks[task], frame)))
        toy, value = state.toy, stage.wants.value
        if stage.kind == "reclaim":
            outer = state.tasks[task][-1]
            frames = (*state.tasks[task][:-1], outer._replace(tries=outer.tries | _RECLAIMED))
            return State(toy, _with(state.tasks, task, frames))
        if isinstance(value, act.Chunk):
            toy.use(value.pfn, toys.IN_USE)
        elif stage.kind == "refill" and value:
            if toy.can_serve(task, self._reserve):
                toy.hand_out(task, self._reserve, self._batch)
            elif frame.tries + 1 < REFILL_TRIES:
                return self._begin(state, task, "refill", 0, frame.tries + 1)
        if lost := toy.in_hand_of(task):
            raise BrokenInvariantError("lost_page", f"the decision ends and {lost} pages in hand are lost")
        if name := next((name for name, holder in toy.locks.items() if holder == task), ""):
            raise BrokenInvariantError("deadlock", f"the decision ends and holds {name}")
        return state


_RECLAIMED = 1 << 8
"""In Frame.tries: direct reclaim has entered the shrinker for the request that is due."""
_WHOSE = {
    "boot": "the first refill",
    "refill": "the refill's own split",
    "outside": "the split for others",
    "shrink": "the shrinker's own split",
    "reclaim": "the shrinker's own split",
    "table": "setting the key of a page table",
    "free": "clearing the key of a page table",
}


def _with(tasks: Tasks, task: int, frames: tuple[Frame, ...]) -> Tasks:
    return (*tasks[:task], frames, *tasks[task + 1 :])


def _one_of_each_chunk(toy: Toy, place: int) -> list[int]:
    found: dict[int, int] = {}
    for page, where in toy.place.items():
        if where == place:
            found.setdefault(page >> toys.REGION_SHIFT, page)
    return list(found.values())
