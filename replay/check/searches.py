"""What was searched and what was found, as text."""

import gc
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from replay.check.search import Scenario, Verdict, search
from replay.check.toy import BLOCK_ORDER
from replay.contract.registry import Entry, configure, parameters, shown
from replay.contract.strategy import Strategy

OUTSIDE = (0, 2, 4)
"""Tables that a permission change by others takes at most: none, one end of a range, both ends. Each end that cuts a 1G
leaf takes a PMD and a PTE table (split_kernel_leaf_mapping(), arch/arm64/mm/mmu.c, 6.18). On arm64 no kernel
code is known to take four; who could is in docs/load.md."""


@dataclass(frozen=True)
class Checked:
    """A strategy in a scenario."""

    strategy: str
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """What was found, in a line."""
        found, verdict = f"{self.verdict.states:,} states", self.verdict
        if verdict.kind:
            return f"{_WORDS.get(verdict.kind, verdict.kind)} after {len(verdict.steps) - 1} steps ({found})"
        if verdict.complete:
            return f"holds for any number of steps ({found}, all there are)"
        return f"holds up to depth {verdict.depth} ({found})"


_WORDS = {
    "split_starvation": "a split lacks a keyed table",
    "unkeyed_table": "a table is used without its key",
    "deadlock": "deadlock",
    "lost_page": "a page is lost or in two places",
}


def toy_strategy(entry: Entry, settings: dict[str, str]) -> Strategy:
    """The strategy with parameters that fit the toy machine, and with those set.

    Orders above a block's become a block's; the strategy's own file says which other parameters have to be smaller.
    """
    fitting = {
        parameter["name"]: _at_most_a_block(parameter.get("granules", (parameter["default"],))[0])
        for parameter in parameters(entry)
        if "order" in parameter["name"]
    }
    return configure(entry, {name: shown(value) for name, value in (fitting | entry.toy).items()} | settings)


def _at_most_a_block(orders: int | tuple[int, ...]) -> int | tuple[int, ...]:
    if isinstance(orders, tuple):
        return tuple(dict.fromkeys(min(order, BLOCK_ORDER) for order in orders))
    return min(orders, BLOCK_ORDER)


def scenarios(tasks: Sequence[int]) -> list[Scenario]:
    """What is tried, the simplest first."""
    return [Scenario(number, outside) for number in tasks for outside in OUTSIDE]


def check(
    strategies: Sequence[tuple[str, Strategy]],
    tasks: Sequence[int],
    depth: int,
    on_done: Callable[[int], None],
    known: Callable[[str, Strategy, Scenario, int], Verdict | None] = lambda *_: None,
) -> list[list[Checked]]:
    """Search every scenario for every strategy, in as many processes as there are CPUs.

    Args:
        strategies: by name, with parameters that fit the toy machine.
        tasks: numbers of tasks.
        depth: steps searched.
        on_done: called after each search, with the number that are done.
        known: what was found before, so that it is not searched again.

    Returns:
        For each strategy its scenarios, the simplest first.
    """
    tried = scenarios(tasks)
    done: list[list[Checked]] = []
    # Nothing in a search refers to itself: looking for cycles among the states takes a third of its time.
    with ProcessPoolExecutor(os.cpu_count(), initializer=gc.disable) as processes:
        running = [
            [
                known(name, chosen, scenario, depth) or processes.submit(search, chosen, scenario, depth)
                for scenario in tried
            ]
            for name, chosen in strategies
        ]
        for (name, _), verdicts in zip(strategies, running, strict=True):
            done.append([])
            for verdict in verdicts:
                done[-1].append(Checked(name, verdict if isinstance(verdict, Verdict) else verdict.result()))
                on_done(sum(map(len, done)))
    return done


def lines(checked: Sequence[Checked]) -> list[str]:
    """A strategy's scenarios, and the shortest counterexample of the simplest one that is broken."""
    width = max(len(str(item.verdict.scenario)) for item in checked)
    found = [checked[0].strategy]
    found += [f"  {str(item.verdict.scenario).ljust(width)}  {item.sentence}" for item in checked]
    broken = next((item.verdict for item in checked if item.verdict.kind), None)
    if broken is not None:
        found.append(f"  The shortest way ({broken.scenario}):")
        found += [f"   {number:2}. {step}" for number, step in enumerate(broken.steps[:-1], 1)]
        found.append(f"       => {broken.steps[-1]}")
    return found
