"""Errors that a user can correct, reported in at most three plain lines."""

from collections.abc import Sequence
from difflib import get_close_matches


class UsageError(Exception):
    """Unusable input or arguments: exit status 2.

    Args:
        what: what is wrong, with the file and the place in it.
        remedy: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}" if self.remedy else self.what


def named(name: str, known: Sequence[str]) -> str:
    """The remedy for a name that does not exist: the closest one, and the list of all."""
    near = get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"there are: {', '.join(known) or 'none yet'}"
