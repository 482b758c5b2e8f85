"""The one door to numba.

Numba's on-disk cache looks only at the file that defines a function: an edit of a helper or a constant in another file
would leave a stale loop in use. So the functions of a stage are cached in a folder named by a hash of all sources they
can see, those of the stage and of the spine. Import ``compiled`` from here and never ``njit`` from numba.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any

import numba
from numpy import ndarray

from ptpool.options import note
from ptpool.provenance import source_hash

_KEEP = 6  # folders kept, so that switching between two checkouts does not recompile


@cache
def _cache_folder(stage: str) -> str:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptpool" / "compiled"
    folder = base / f"{stage}-{source_hash('ptpool', stage)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        with tempfile.TemporaryFile(dir=folder):
            pass
        newest_first = sorted(base.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for stale in newest_first[_KEEP:]:
            shutil.rmtree(stale, ignore_errors=True)
    except OSError:  # a home that cannot be written: compile into a private folder of this process
        return tempfile.mkdtemp(prefix="ptpool-compiled-")
    return str(folder)


def announce_compiling(stage: str, *, quiet: bool = False) -> None:
    """Say that a command will begin with compiling, unless something of the stage has been compiled before."""
    if not any(Path(_cache_folder(stage)).rglob("*.nbi")):
        note(f"compiling the {stage} loops: up to two minutes, once for each version", quiet=quiet)


class Compiled:
    """A function in machine code. Compiled code calls it as it is; Python by an entry for what it is given.

    Numba finds out at every call from Python what the types of all arguments are: 10 of 11 µs, with the 67 arrays of a
    simulated machine. Here an argument's class tells it, which holds as the fields of a named tuple are always of the
    types that it declares. Numba itself is asked once for each combination of classes.
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
    """Compile a function of flat arrays to machine code: cached on disk, inlined into its callers, free of the GIL.

    Reference counting is off (measured: it made the page allocator ten times slower), so the function may read and
    write the arrays it is given, alone or in named tuples, but not make new ones.
    """
    return _compiled(function, inline=True)


def compiled_apart(function: Callable[..., Any]) -> Compiled:
    """The same for what is called rarely: a function of its own, so that its callers stay small and compile quickly."""
    return _compiled(function, inline=False)


def _compiled(function: Callable[..., Any], *, inline: bool) -> Compiled:
    numba.config.CACHE_DIR = _cache_folder(function.__module__.partition(".")[0])  # type: ignore[attr-defined]
    decorate = numba.njit(  # type: ignore[call-overload]
        cache=True, nogil=True, forceinline=inline, error_model="numpy", _nrt=False, no_cfunc_wrapper=True
    )
    return Compiled(decorate(function))
