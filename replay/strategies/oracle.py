"""The bounds: no strategy can do better, even one that sees the whole trace in advance."""

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
    """What any pool of 2M blocks needs at least. It may be out of reach, but no strategy can beat it.

    ours  Blocks: the page tables alive at the peak, divided by the pages of a block, rounded up.
    ours  Memory over time: the same at every moment; idle pages are what those blocks hold beyond the page tables.
    ours  Splits: no 2M leaf, since whole blocks are keyed; as few 1G leaves as hold the blocks, and none where no 1G
          leaf maps memory. One permission change for each block, and none back.
    ours  The workload itself is replayed as `unprotected`; what depends on where page tables lie has no bound, and only
          these bounds are kept of that replay.
    """

    bound = True
