"""Rick Edgecombe's solution 2: a small reserve, with single pages as the last resort."""

from dataclasses import dataclass

from replay.contract.registry import strategy
from replay.contract.strategy import param
from replay.strategies.reserve_block import ReserveBlock


@strategy(
    "small-reserve",
    title="two keyed pages in reserve; refill with a 2M block, else with one page",
    source="Rick Edgecombe, PKS write protected page tables v2, patch 17 (2021-08-30), "
    "solution 2, considered and rejected there",
    colour="#ddaa33",
    line="solid",
    marker="v",
)
@dataclass(frozen=True)
class SmallReserve(ReserveBlock):
    """The last resort cannot replenish the reserve.

    text  "Hold some page tables in reserve to be able to break the large page for a new 2MB page, but if there are no
          2MB page's available we may need to add a single page to the cache, in which case we would use up the reserve
          of page tables needed to break a new page, but not get enough page tables back to replenish the resereve."
    ours  Everything else is as in `reserve-block`, whose last resort is four pages.
    """

    reserve: int = param(2, 'pages kept for splits: "some page tables"; the number is reserve-block\'s', "ours")
    last_order: int = param(0, "order of the last attempt: a single page", "text")
