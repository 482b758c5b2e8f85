"""perf.data: what ``perf record`` writes, into a file or a pipe, on machines of either byte order.

``header`` reads what comes before and after the records, ``layout`` and ``tracing_data`` say where the fields of
samples and events lie, ``records`` is the compiled walk over all records, ``trace`` puts events in order of time and
names tasks and functions. No perf program is needed.
"""

from collections.abc import Sequence
from pathlib import Path

from ingest.trace import Context, Trace


def open_trace(paths: Sequence[Path], context: Context) -> Trace:
    """Open the parts of one recording.

    Raises:
        UsageError: a file cannot be read.
    """
    from ingest.formats.perf_data.trace import PerfTrace

    return PerfTrace(paths, context)
