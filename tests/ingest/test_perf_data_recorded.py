"""A real perf.data against what ``perf script`` printed of it: every field, row by row."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ingest.formats import perf_data
from ingest.formats.text import perf_script
from ingest.trace import Context

LOSSY = Path(__file__).parent / "perf_data"
CAPTURE = Path(__file__).parents[2] / "data" / "captures" / "server-16g"


@pytest.fixture(scope="module")
def both():
    """The rows of both, with names in place of numbers, and what was found apart from them."""
    out = []
    for module, name in ((perf_data, "perf.data.zst"), (perf_script, "perf.script.txt.zst")):
        trace = module.open_trace([CAPTURE / name], Context(kallsyms=CAPTURE / "kallsyms.zst"))
        rows = np.concatenate([batch.copy() for batch in trace.batches()])
        trace.close()
        named = {
            "comm": np.array([*(comm.strip() for comm in trace.comms), None], object)[rows["comm"]],
            "gfp": np.array([*trace.gfps, None], object)[rows["gfp"]],
            "stack": [trace.stacks[number] if number >= 0 else None for number in rows["stack"]],
        }
        out.append((rows, named, trace.found))
    return out


def test_fields(both):
    (rows, names, found), (printed, printed_names, printed_found) = both
    assert len(rows) == len(printed) == 119_469
    assert (rows["ts"] // 1000 == printed["ts"] // 1000).all()
    for field in ("cpu", "pid", "kind", "pfn", "order", "migratetype"):
        assert (rows[field] == printed[field]).all(), field
    assert (names["gfp"] == printed_names["gfp"]).all()
    assert found.counts["user_frames_dropped"] == printed_found.counts["user_frames_dropped"] == 967_395
    assert "# os release : 6.12.95+deb12-amd64" in found.comments


def test_names_of_tasks(both):
    """perf script forgets a task at its exit, before it frees its memory, and prints its number (tools/perf, 6.12)."""
    (rows, names, _), (_, printed, _) = both
    assert (names["comm"] == printed["comm"]).all()
    unnamed = [comm.startswith(":") for comm in printed["comm"]]
    assert set(rows["pid"][unnamed].tolist()) == {-1}
    with pa.input_stream(str(CAPTURE / "perf.script.txt.zst"), compression="zstd") as stream:
        assert stream.read().count(b"\n:") - sum(unnamed) == 25_411


def test_stacks(both):
    """Where two functions begin at one address, perf prints the global one, the kernel itself and ptpool the first."""
    with pa.input_stream(str(CAPTURE / "kallsyms.zst"), compression="zstd") as stream:
        lines = stream.read().decode().splitlines()
    at: dict[str, set[str]] = {}
    for line in lines:
        address, _, name = line.split()[:3]
        at.setdefault(address, set()).add(name)
    aliases: dict[str, set[str]] = {}
    for group in at.values():
        for name in group:
            aliases.setdefault(name, set()).update(group)
    (_, names, _), (_, printed, _) = both
    differ = 0
    for ours, theirs in zip(names["stack"], printed["stack"], strict=True):
        if ours != theirs:
            differ += 1
            assert len(ours) == len(theirs)
            assert all(one == other or other in aliases[one] for one, other in zip(ours, theirs, strict=True))
    assert differ == 23


def test_losses_as_perf_counts_them(ingest, query):
    """Recorded in the lab with 8 KiB of buffer for each CPU; lossy.log is what perf record said of it."""
    log = (LOSSY / "lossy.log").read_text()
    processed, share = re.findall(r"Processed (\d+) samples and lost ([\d.]+)%", log)[0]
    assert ingest(LOSSY / "lossy.data.zst") == 0
    ((events,),) = query("SELECT count(*) FROM page_event")
    lost = query("SELECT cpu, value, severity FROM import_stat WHERE name = 'lost_events'")
    assert lost == [(0, 3476, "data_loss"), (1, 3179, "data_loss")]
    assert events + 3476 + 3179 == int(processed)
    assert round(100 * (3476 + 3179) / int(processed), 2) == float(share)
    assert query("SELECT lost_events FROM capture") == [(6655,)]
