"""ptpool: replay page-allocation traces through every proposed way of supplying specially-mapped page-table pages.

This package is the spine of the stages ``ingest``, ``replay`` and ``reports``: the warehouse, the kernel's vocabulary,
errors, progress and provenance. The stages import it, and never each other.
"""

__version__ = "0.1.0"
