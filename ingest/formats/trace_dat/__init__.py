"""trace.dat of trace-cmd, versions 6 and 7.

``file`` reads the container: header, sections and buffers; ``options`` what the recorder says about the recording;
``pages`` the ring buffer's pages, plain or in compressed chunks; ``trace`` merges the parts of a recording by time.
`ingest.formats.ring_buffer` reads the events in the pages. No trace-cmd program is needed.
"""

from collections.abc import Sequence
from pathlib import Path

from ingest.trace import Context, Trace


def open_trace(paths: Sequence[Path], context: Context) -> Trace:
    """Open the parts of one recording.

    Raises:
        UsageError: a file is damaged or holds no page events.
    """
    from ingest.formats.trace_dat.trace import Parts

    return Parts(paths, context)
