"""``make bench``: how fast ptpool reads and replays, beside what a user would otherwise run, as ratios in one run.

Each figure is the median of a few runs in this process, after one that compiles. Programs that are not installed are
left out and named; with these none is (Debian, as root, which recording with perf needs too)::

    apt-get install linux-perf trace-cmd && .venv/bin/pip install libcachesim

The bare loop is the least that a program needs which reads the file and looks at every byte. Files are read uncompressed from a temporary folder, so that all read the same bytes. Arguments are
the parts to measure: all of them, or some of strategies, sweep, text, trace_dat, perf_data, warehouse.
"""

import sys
import tempfile
from pathlib import Path

import perf_data
import strategies
import sweep
import text
import trace_dat
import warehouse

from ptpool.text import aligned

PARTS = {
    "strategies": strategies,
    "sweep": sweep,
    "text": text,
    "trace_dat": trace_dat,
    "perf_data": perf_data,
    "warehouse": warehouse,
}


def main(chosen: list[str]) -> None:
    """Measure, and print a table for each part."""
    for name in chosen or PARTS:
        part = PARTS[name]
        with tempfile.TemporaryDirectory() as folder:
            rows = part.bench(Path(folder))
        if rows:
            print(f"{part.TITLE}\n\n{aligned(part.COLUMNS, [tuple(map(shown, row)) for row in rows])}\n", flush=True)


def shown(value: object) -> object:
    """Numbers with three digits."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main(sys.argv[1:])
