"""Who owns a page, slowly: blocks as sets of pages. What ingest/ownership.py has to agree with.

The rules are those of a page's owner, not of the buddy lists: a free may concern all of a block, a part, several, or one
that was never seen; an allocation of live pages means that their free was lost.
"""

from dataclasses import dataclass


@dataclass(eq=False)
class Block:
    """What was allocated at once, and which of its pages are still live."""

    owner: int
    pages: set[int]
    whole: frozenset[int]
    from_snapshot: bool = False


class ReferencePages:
    """The live owner of every page seen."""

    def __init__(self) -> None:
        self.live: dict[int, Block] = {}
        self.freed: set[int] = set()  # and not allocated since

    def seed(self, first: int, last: int, owner: int) -> None:
        for page in range(first, last + 1):
            self.live[page] = Block(owner, {page}, frozenset({page}), from_snapshot=True)

    def alloc(self, first: int, order: int, owner: int) -> str | None:
        """What went wrong, if anything."""
        pages = range(first, first + (1 << order))
        lost = any(page in self.live and not self.live[page].from_snapshot for page in pages)
        block = Block(owner, set(pages), frozenset(pages))
        for page in pages:
            if page in self.live:
                self.live[page].pages.discard(page)
            self.live[page] = block
            self.freed.discard(page)
        return "allocs_over_live" if lost else None

    def free(self, first: int, order: int) -> tuple[int, list[str]]:
        """Class of the owner (0: nobody known), and how the free met what was live."""
        pages = set(range(first, first + (1 << order)))
        found = [self.live.pop(page) for page in sorted(pages & self.live.keys())]
        twice = bool(pages & self.freed)
        self.freed |= pages
        blocks = set(found)
        for block in blocks:
            block.pages -= pages
        if not found:
            return 0, ["frees_twice", "frees_unknown"] if twice else ["frees_unknown"]
        owner = found[0].owner
        if len(found) < len(pages):
            return owner, ["frees_of_several"]
        if all(block.from_snapshot for block in blocks):
            return owner, ["frees_from_snapshot"]
        if len(blocks) > 1:
            return owner, ["frees_of_several"]
        return owner, ["frees_exact" if found[0].whole == pages else "frees_of_part"]
