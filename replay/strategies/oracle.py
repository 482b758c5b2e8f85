"""The bounds: what nobody can beat who sees the whole trace in advance."""

from dataclasses import dataclass

from replay.contract.registry import strategy
from replay.strategies.unprotected import Unprotected


@strategy(
    "oracle",
    title="the bounds: fewest 2M blocks that hold the page tables, at their peak and over time",
    source="a bound, not a proposal",
    colour="#000000",
    line="dotted",
    marker="*",
)
@dataclass(frozen=True)
class Oracle(Unprotected):
    """No supply at all: what any pool of 2M blocks needs at least. Perhaps unattainable, never beatable.

    ours  Blocks: the page tables alive at the peak, divided by the pages of a block, rounded up.
    ours  Memory over time: the same at every moment; idle pages are what those blocks hold beyond the page tables.
    ours  Splits: none of 2M leaves, since whole blocks are keyed; of 1G leaves as few as hold the blocks, and none
          where nothing is mapped by 1G leaves. One permission change for each block, and never one back.
    ours  The workload itself is replayed as `unprotected`; what depends on where page tables lie has no bound, and of
          that replay nothing but these bounds is kept.
    """

    bound = True
