"""The only import of numba: use ``compiled`` from here, and never ``njit`` from numba.

Numba's on-disk cache looks only at the file that defines a function: after an edit of a helper or a constant in another
file, a stale loop would stay in use. So the functions of a stage are cached in a folder that is named by a hash of all
sources they can see: those of the stage and of the spine.

Two switches of numba's own find an index outside its array, which compiled code would use without a word:
NUMBA_BOUNDSCHECK=1 compiles the check in (as slowly, and into a folder of its own), NUMBA_DISABLE_JIT=1 runs
everything as plain Python (nothing to compile; tests/support/checked_arrays.py).
"""

from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any

import numba
from numpy import ndarray

from ptpool.cache import cache_folder
from ptpool.options import note


def _cache_folder(stage: str) -> str:
    return cache_folder(stage, "-checked" if numba.config.BOUNDSCHECK else "")  # type: ignore[attr-defined]


def announce_compiling(stage: str, *, quiet: bool = False) -> None:
    """Say that the command starts with compiling, unless the stage has been compiled before."""
    if not any(Path(_cache_folder(stage)).rglob("*.nbi")):
        note(f"compiling the {stage} loops: up to two minutes, once for each version", quiet=quiet)


class Compiled:
    """A function in machine code. Compiled code calls it directly; Python by an entry for the arguments' classes.

    At every call from Python, numba determines the types of all arguments: 10 of 11 µs with the 67 arrays of a
    simulated machine. Here the class of an argument is enough, as the fields of a named tuple always have their
    declared types. Numba itself is asked once for each combination of classes.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher, self._entries = dispatcher, dict[tuple[Any, ...], Callable[..., Any]]()
        self._numba_type_ = numba.types.Dispatcher(dispatcher)
        self.py_func = dispatcher.py_func
        update_wrapper(self, self.py_func)

    def __call__(self, *arguments: Any) -> Any:
        """Call it from Python."""
        kinds: tuple[Any, ...] = tuple(map(type, arguments))
        if ndarray in kinds:
            kinds += tuple((each.dtype, each.ndim, each.flags.num) for each in arguments if type(each) is ndarray)
        if (entry := self._entries.get(kinds)) is not None:
            return entry(*arguments)
        result = self._dispatcher(*arguments)
        types = tuple(self._dispatcher.typeof_pyval(each) for each in arguments)
        self._entries[kinds] = self._dispatcher.overloads[types].entry_point
        return result


def compiled(function: Callable[..., Any]) -> Compiled:
    """Compile a function of flat arrays to machine code: cached on disk, inlined into its callers, without the GIL.

    Reference counting is off (measured: it made the page allocator ten times slower). The function may read and write
    arrays that it is given, alone or in named tuples, but must not create any.
    """
    return _compiled(function, inline=True)


def compiled_apart(function: Callable[..., Any]) -> Compiled:
    """The same without inlining, for functions that are called rarely: their callers stay small and compile quickly."""
    return _compiled(function, inline=False)


def _compiled(function: Callable[..., Any], *, inline: bool) -> Compiled:
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function  # type: ignore[return-value]
    numba.config.CACHE_DIR = _cache_folder(function.__module__.partition(".")[0])  # type: ignore[attr-defined]
    decorate = numba.njit(  # type: ignore[call-overload]
        cache=True, nogil=True, forceinline=inline, error_model="numpy", _nrt=False, no_cfunc_wrapper=True
    )
    return Compiled(decorate(function))
