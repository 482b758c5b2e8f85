"""In a guest: the recorder's reading of the free lists between two dumps of them that the kernel makes under its locks.

lists.py ROUNDS [busy]: readings while nothing else runs, then (busy) beside two programs that allocate and free.
What was read is written at the end; compare_lists.py tells what agrees.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from ingest.recorder.free_lists.snapshot import FreeLists

ROOM = 16 << 20
rounds, busy = int(sys.argv[1]), sys.argv[2:] == ["busy"]
start = time.perf_counter()
lists = FreeLists(Path("/"))
print("prepared in", round(time.perf_counter() - start, 2), "s", lists.cost, flush=True)
dumps = [bytearray(b"\1" * ROOM) for _ in range(2)]


def dump(view: memoryview) -> int:
    got = 0
    with Path("/proc/ptlists").open("rb", buffering=0) as file:
        while n := file.readinto(view[got:]):
            got += n
    return got


def one(folder: Path) -> None:
    small = [Path("/proc", name).read_bytes() for name in ("buddyinfo", "pagetypeinfo", "zoneinfo")]
    sizes = [dump(memoryview(dumps[0]))]
    snapshot = lists.read()
    sizes.append(dump(memoryview(dumps[1])))
    folder.mkdir()
    for name, text in zip(("buddyinfo", "pagetypeinfo", "zoneinfo"), small, strict=True):
        (folder / name).write_bytes(text)
    snapshot.reading.rows.tofile(folder / "free_lists")
    (folder / "free_lists.json").write_bytes(snapshot.json())
    for name, room, size in zip(("first", "second"), dumps, sizes, strict=True):
        (folder / name).write_bytes(room[:size])
    print(
        folder.name,
        json.dumps({key: value for key, value in snapshot.notes.items() if key not in ("zones", "types")}),
        flush=True,
    )


for number in range(rounds):
    one(Path(f"/out/quiet-{number}"))
if busy:
    churns = [subprocess.Popen(["churn", str(seed), "100000"], stdout=subprocess.DEVNULL) for seed in (11, 12)]
    time.sleep(2)
    for number in range(rounds):
        one(Path(f"/out/busy-{number}"))
    for churn in churns:
        churn.kill()
