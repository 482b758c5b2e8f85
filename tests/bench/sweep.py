"""A sweep of metrics only on a machine of 8 GiB, by one process and by two."""

import json
import subprocess
import sys
import time
from pathlib import Path

from measure import CAPTURES, Row, tell

TITLE = "Sweep of server-16g on 8 GiB (start, replays, shards, merge into the warehouse)"
COLUMNS = ["processes", "runs", "seconds", "runs a minute"]
SPEC = """title = "bench"
[[grid]]
capture = "server-16g"
machine = "8G"
strategy = ["pba", "reserve-block"]
seed = [{seeds}]
set.reserve = [{reserves}]
"""
SEEDS, RESERVES = 3, 200


def bench(folder: Path) -> list[Row]:
    """The same units with every number of processes; the first sweep of all compiles, and is not told."""
    ptpool = Path(sys.executable).with_name("ptpool")
    spec, rows = folder / "bench.toml", []
    for processes, seeds, reserves in ((1, 1, 2), (1, SEEDS, RESERVES), (2, SEEDS, RESERVES)):
        db = folder / f"{processes}-{reserves}.duckdb"
        subprocess.run([ptpool, "ingest", "trace", CAPTURES / "server-16g", "--quiet", "--db", db], check=True)
        spec.write_text(
            SPEC.format(seeds=", ".join(map(str, range(seeds))), reserves=", ".join(map(str, range(2, 2 + reserves))))
        )
        start = time.perf_counter()
        done = subprocess.run(
            [ptpool, "replay", "sweep", spec, "--jobs", str(processes), "--quiet", "--json", "--db", db],
            check=True,
            stdout=subprocess.PIPE,
        )
        spent = time.perf_counter() - start
        runs = json.loads(done.stdout)[0]["runs"]
        if reserves == RESERVES:
            rows.append((processes, runs, spent, runs / spent * 60))
            tell(f"sweep, {processes} processes: {runs / spent * 60:.0f} runs a minute")
    return rows
