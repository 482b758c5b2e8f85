"""Kinds of user of specially mapped memory, and the permission that the direct map has for each.

Rick Edgecombe, 2021-08-23, answering Mike Rapoport's __GFP_PTE_MAPPED, distinguishes two categories. One limits "the
use of the direct map alias when it's not in use and the primary alias is getting some other permission": memory without
a mapping will do, and all can share it. Two sets "permissions on the direct map as the only alias to be used". In 2025
he names the users of such memory: page tables, secrets, kernel shadow stacks, executable code.
"""

from typing import NamedTuple

from ptpool.vocabulary import CONSUMERS
from replay.kernel.leaves import CLEAN, EXECUTABLE, KEYED, READ_ONLY

SHADOW_STACK = len(CONSUMERS)
"""Code of a consumer that no recording has: a page for each kernel stack, see `replay.demand.shadow_stacks`."""


class User(NamedTuple):
    """A kind of user whose pages have a permission of their own in the direct map."""

    name: str
    permission: int
    """Attributes of replay.kernel.leaves."""
    consumers: tuple[int, ...]


USERS = (  # a page belongs to the first whose permission it has: others may also have made it read-only
    User("page tables", KEYED, ()),  # the strategy says which: Strategy.protects
    User("executable memory", READ_ONLY | CLEAN | EXECUTABLE, (CONSUMERS.index("exec"),)),  # set_memory_rox()
    User("kernel shadow stacks", READ_ONLY, (SHADOW_STACK,)),  # Write=0, Dirty=1: Intel SDM 1, 17.2
)
TABLES = 0
"""The first kind: page tables."""
PERMISSIONS = tuple(user.permission for user in USERS)
ANY_PERMISSION = KEYED | READ_ONLY | CLEAN | EXECUTABLE

SHARED, NOBODY = -1, -2
"""In place of a kind of user: served with memory that is not mapped, from the shared list; not served by the pool."""


def users_of(tables: tuple[str, ...], *, lists: bool, secrets: bool) -> list[int]:
    """(consumers + 1,) which kind of user each consumer is.

    Args:
        tables: consumers whose page tables are to be protected.
        lists: whether kinds of user have lists of their own.
        secrets: whether secret memory is served, if they have none.
    """
    kinds = [TABLES if lists and name in tables else NOBODY for name in (*CONSUMERS, "")]
    if lists or secrets:
        kinds[CONSUMERS.index("secret")] = SHARED  # secretmem_fault() takes its page out of the direct map
    for kind, user in enumerate(USERS if lists else ()):
        for consumer in user.consumers:
            kinds[consumer] = kind
    return kinds
