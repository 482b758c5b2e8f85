"""trace.dat of trace-cmd, as it compresses it, against ``trace-cmd report``: a recording repeated with shifted time."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from measure import BARE, Row, bare_loop, median_s, ptpool_ingest, tell

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from ring_buffer_writer import File, Machine

from ingest.formats.ring_buffer.event_format import EventFormat
from ingest.formats.trace_dat import open_trace
from ingest.formats.trace_dat.file import TraceDat, read_trace_dat
from ingest.formats.trace_dat.pages import ChunkedPages, PlainPages
from ingest.trace import Context, Findings

TITLE = "trace.dat (ptpool: read, classified and committed to DuckDB)"
COLUMNS = ["file", "program", "seconds", "MB/s", "times ptpool"]
EXCERPT = Path(__file__).parents[1] / "ingest" / "trace_dat" / "build-2g-excerpt.dat"
TIMES = 30_200


def bench(folder: Path) -> list[Row]:
    """Five million page events."""
    data, plain, text = folder / "trace.dat", folder / "plain.dat", folder / "report.txt"
    repeat(EXCERPT, data, TIMES, "7-zstd")
    repeat(EXCERPT, plain, TIMES, "7")
    ours = median_s(ptpool_ingest(data), warm=True)
    what, size = "trace.dat, 5.0 M page events", data.stat().st_size / 1e6
    rows = [(what, "ptpool, into the warehouse", ours, size / ours, 1.0)]
    limit = median_s(bare_loop(plain), warm=True)
    rows.append((what, f"{BARE}, decompressed", limit, size / limit, limit / ours))
    plain.unlink()
    if shutil.which("trace-cmd") is None:
        tell("trace-cmd is not there: left out")
        return rows

    def report() -> None:
        with text.open("wb") as stream:
            subprocess.run(
                ["trace-cmd", "report", "-i", str(data)], stdout=stream, stderr=subprocess.DEVNULL, check=True
            )

    spent = median_s(report, 1)
    return [*rows, (what, "trace-cmd report, to text only", spent, size / spent, spent / ours)]


def repeat(source: Path, target: Path, times: int, variant: str = "7-zstd") -> None:
    """Write the recording `times` times over into one file.

    Args:
        source: a little-endian trace.dat of one buffer.
        variant: ``6``, ``7``, ``7-zlib`` or ``7-zstd``.
    """
    with source.open("rb") as file:
        trace = read_trace_dat(file, source)
        (buffer,) = (buffer for buffer in trace.buffers if buffer.cpus)
        pages = {}
        for cpu, offset, size in buffer.cpus:
            place = file.fileno(), cpu, offset, size, source, Findings()
            reader = (
                ChunkedPages(*place, trace.order, trace.compression, buffer.page_size)
                if buffer.compressed
                else PlainPages(*place)
            )
            room = bytearray(1 << 30 if buffer.compressed else size)
            pages[cpu] = np.frombuffer(room, np.uint8)[: reader.fill(memoryview(room))].reshape(-1, buffer.page_size)
        texts = _format_texts(trace)
    events = open_trace([source], Context())
    recorded = np.concatenate([rows["ts"] for rows in events.batches()])
    events.close()
    span = np.uint64(np.ptp(recorded) + 1_000)
    for cpu, page in pages.items():
        many = np.tile(page, (times, 1))
        many[:, :8].view()[:] = (
            (many[:, :8].copy().view(np.uint64)[:, 0] + np.repeat(np.arange(times, dtype=np.uint64) * span, len(page)))
            .view(np.uint8)
            .reshape(-1, 8)
        )
        pages[cpu] = many
    tasks = "".join(f"{pid} {name}\n" for pid, name in trace.tasks.items())
    packed = {cpu: page.tobytes() for cpu, page in pages.items()}
    written = File(Machine(ids={}), packed, tasks, trace.kallsyms.decode(), formats=texts)
    target.write_bytes(written.write(variant))


def _format_texts(trace: TraceDat) -> list[str]:
    """Formats again as the kernel writes them, with a blank line after the common fields."""

    def text(form: EventFormat) -> str:
        fields = ["", ""]
        for field in form.fields.values():
            kind = f"{'' if field.signed else 'unsigned '}{'long' if field.size >= 8 else 'int'}"
            name = f"{field.name}[8]" if field.is_array else field.name
            line = f"\tfield:{kind} {name};\toffset:{field.offset};\tsize:{field.size};\tsigned:{int(field.signed)};\n"
            fields[not field.name.startswith("common_")] += line
        return f"name: {form.name}\nID: {form.id}\nformat:\n{fields[0]}\n{fields[1]}\nprint fmt: {form.print_fmt}"

    return [text(form) for form in trace.formats]


if __name__ == "__main__":
    repeat(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
