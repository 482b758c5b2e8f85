"""Text traces into the warehouse, against the ways people read them today."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from measure import BARE, CAPTURES, Row, bare_loop, median_s, ptpool_ingest, tell

TITLE = "Text ingest (ptpool: read, classified and committed to DuckDB; the others: parsed only)"
COLUMNS = ["file", "program", "seconds", "MB/s", "times ptpool"]
BYTES = 300_000_000  # so that opening the warehouse does not count

FTRACE = re.compile(
    rb"^\s*(?P<comm>.+)-(?P<pid>\d+)\s+(?:\([\s\d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:\S+\s+)?(?P<ts>\d+\.\d+): (?P<event>mm_page_\w+): "
    rb"page=\S+ pfn=(?P<pfn>\S+) order=(?P<order>\d+)(?: migratetype=(?P<mt>\d+))?(?: gfp_flags=(?P<gfp>\S+))?"
)
PERF = re.compile(
    rb"^(?P<comm>.+?)\s+(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<ts>\d+\.\d+): kmem:(?P<event>mm_page_\w+): "
    rb"page=\S+ pfn=(?P<pfn>\S+) order=(?P<order>\d+)(?: migratetype=(?P<mt>\d+))?(?: gfp_flags=(?P<gfp>\S+))?"
)
FILES = (("sharedmem-frag-1g", "trace.txt.zst", FTRACE), ("server-16g", "perf.script.txt.zst", PERF))


def bench(folder: Path) -> list[Row]:
    """Two captures, each with and without its stacks."""
    rows = []
    for name, file, pattern in FILES:
        for stacks in (True, False):
            path = folder / f"{name}-{'stacks' if stacks else 'events'}.txt"
            unpack(CAPTURES / name / file, path, stacks=stacks)
            size = path.stat().st_size / 1e6
            ours = median_s(ptpool_ingest(path), 5, warm=True)
            what = f"{name}, {'with' if stacks else 'without'} stacks"
            rows.append((what, "ptpool, into the warehouse", ours, size / ours, 1.0))
            limit = median_s(bare_loop(path), 5, warm=True)
            rows.append((what, BARE, limit, size / limit, limit / ours))
            for title, other in (
                ("polars extract_groups", polars_regex(path, pattern, stacks=stacks)),
                ("Python re", python_re(path, pattern, stacks=stacks)),
            ):
                spent = median_s(other, 1)
                rows.append((what, title, spent, size / spent, spent / ours))
                tell(f"{what}: {title} {spent / ours:.1f}x")
            path.unlink()
    return rows


def unpack(source: Path, target: Path, *, stacks: bool) -> None:
    """Decompress a trace to `BYTES` of text, repeating it; without stacks, only its event lines."""
    with pa.input_stream(str(source), compression="zstd") as stream:
        text = stream.read()
    if not stacks:
        kept = [line for line in text.splitlines(keepends=True) if b" mm_page_" in line or b":mm_page_" in line]
        text = b"".join(kept)
    with target.open("wb") as stream:
        for _ in range(-(-BYTES // len(text))):
            stream.write(text)


def python_re(path: Path, pattern: re.Pattern[bytes], *, stacks: bool) -> Callable[[], None]:
    """The script that everybody writes: one regular expression a line, frames appended to the last event."""

    def work() -> None:
        rows: list[tuple[Any, ...]] = []
        frames: list[list[bytes]] = []
        with path.open("rb") as stream:
            for line in stream:
                if match := pattern.match(line):
                    rows.append(match.groups())
                    frames.append([])
                elif stacks and frames and line.startswith((b"\t", b" =>")):
                    frames[-1].append(line.split()[1])

    return work


def polars_regex(path: Path, pattern: re.Pattern[bytes], *, stacks: bool) -> Callable[[], None]:
    """The columnar way: extract_groups on every line; frames joined to the event above them."""
    text = pattern.pattern.decode()

    def work() -> None:
        lines = pl.read_csv(
            path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"], encoding="utf8-lossy"
        )
        if stacks:
            is_event = pl.col("line").str.contains("mm_page_", literal=True)
            lines = lines.with_columns(nth=is_event.cum_sum(), is_event=is_event)
            events = lines.filter("is_event")
            frames = (
                lines.filter(~pl.col("is_event") & pl.col("line").str.contains(r"^(\t| =>)"))
                .with_columns(frame=pl.col("line").str.extract(r"^\s*\S+\s+(\S+)"))
                .group_by("nth", maintain_order=True)
                .agg("frame")
            )
            events = events.with_columns(pl.col("line").str.extract_groups(text).alias("fields")).unnest("fields")
            events.join(frames, on="nth", how="left")
        else:
            lines.select(pl.col("line").str.extract_groups(text).alias("fields")).unnest("fields")

    return work
