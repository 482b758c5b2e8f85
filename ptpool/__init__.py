"""ptpool: page-allocation traces replayed through every proposed supply of specially-mapped page-table pages.

This package is the spine that the stages (``ingest``, ``replay``, ``reports``) stand on: the warehouse, the kernel's
vocabulary, errors, progress and provenance. The stages import it and never each other.
"""

__version__ = "0.1.0"
