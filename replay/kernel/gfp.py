"""What a request may use and do: GFP flags packed for the compiled loop (include/linux/gfp.h and gfp_types.h, 6.12).

The low two bits of a context are the class of the highest zone allowed (gfp_zone()); the others are the flags that the
page allocator looks at. A trace shows them after current_gfp_context(): without those that a NOFS or NOIO scope of the
task takes away. It does not show what the task adds (PF_MEMALLOC, being an OOM victim, real-time priority).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptpool.vocabulary import GFP_BITS
from replay.kernel.mmzone import ZONE_DMA, ZONE_DMA32, ZONE_MOVABLE, ZONE_NORMAL

ZONE_CLASS_MASK = 3
MAY_RECLAIM, IS_HIGH, WAKES_KSWAPD = 4, 8, 16
NOMEMALLOC, MEMALLOC, THISNODE = 32, 64, 128
NORETRY, RETRY_MAYFAIL, MAY_IO, MAY_FS = 256, 512, 1024, 2048

GFP_KERNEL = ZONE_NORMAL | MAY_RECLAIM | WAKES_KSWAPD | MAY_IO | MAY_FS

RIGHTS = MAY_RECLAIM | IS_HIGH | WAKES_KSWAPD | NOMEMALLOC | MAY_IO | MAY_FS
"""What a task may do about memory in a context, whatever it asks for."""

_BITS = {
    "__GFP_DIRECT_RECLAIM": MAY_RECLAIM,
    "__GFP_HIGH": IS_HIGH,
    "__GFP_KSWAPD_RECLAIM": WAKES_KSWAPD,
    "__GFP_NOMEMALLOC": NOMEMALLOC,
    "__GFP_MEMALLOC": MEMALLOC,
    "__GFP_THISNODE": THISNODE,
    "__GFP_NORETRY": NORETRY,
    "__GFP_RETRY_MAYFAIL": RETRY_MAYFAIL,
    "__GFP_IO": MAY_IO,
    "__GFP_FS": MAY_FS,
}


def contexts(gfp: NDArray[np.int64], unknown: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Contexts of requests with these flags.

    Args:
        gfp: (N,) GFP flags.
        unknown: (N,) True where no flags were recorded: such a request counts as GFP_KERNEL.
    """

    def has(name: str) -> NDArray[Any]:
        return np.asarray((gfp & GFP_BITS[name]) != 0)

    context = np.full(len(gfp), ZONE_NORMAL, np.uint16)
    context[has("__GFP_HIGHMEM") & has("__GFP_MOVABLE")] = ZONE_MOVABLE
    context[has("__GFP_DMA32")] = ZONE_DMA32
    context[has("__GFP_DMA")] = ZONE_DMA
    for name, bit in _BITS.items():
        context[has(name)] |= bit
    context[unknown] = GFP_KERNEL
    return context
