#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""numbers.py FOLDER...: what the kernel and its pool did in each run, as CSV on standard output.

Columns: run (the folder's name), quantity, value. Counts are from when the pool was switched on (active/) to the end
(after/); held_max and cached_min are of the whole run; splits_at_activation are those of the first refill.
"""

import csv
import re
import sys
from pathlib import Path

COUNTED = (
    *("allocs", "frees", "nulls", "refills", "refills_overlapping", "own_tables", "outside_tables"),
    *("starved_own", "starved_outside", "prepare_refused", "recursions", "unkeyed_tables"),
    *("key_sets", "key_clears", "flushes", "isolated", "adopted", "scans", "shrunk_pages"),
)
SPLITS = {"splits_2m": "direct_map_level2_splits", "splits_1g": "direct_map_level3_splits"}


def numbers(path: Path) -> dict[str, int]:
    """The lines `name value` of a file; of `refill_order_N tried X got Y` both."""
    text = path.read_text()
    found = {name: int(value) for name, value in re.findall(r"^(\S+) (-?\d+)$", text, re.MULTILINE)}
    for order, tried, got in re.findall(r"^refill_order_(\d+) tried (\d+) got (\d+)$", text, re.MULTILINE):
        found |= {f"refills_tried_order_{order}": int(tried), f"refills_got_order_{order}": int(got)}
    return found


def of_run(folder: Path) -> dict[str, int]:
    """The quantities of a run."""
    active, after = numbers(folder / "active" / "pool_stats"), numbers(folder / "after" / "pool_stats")
    before, begin, end = (numbers(folder / moment / "vmstat") for moment in ("before", "active", "after"))
    orders = [name for name in after if name.startswith("refills_")]
    found = {name: after[name] - active.get(name, 0) for name in dict.fromkeys((*COUNTED, *sorted(orders)))}
    found |= {name: end[counter] - begin[counter] for name, counter in SPLITS.items()}
    found["splits_at_activation"] = sum(begin[counter] - before[counter] for counter in SPLITS.values())
    found |= {name: after[name] for name in ("held_max", "cached_min", "aside_min")}
    found |= {name: end[name] - begin[name] for name in ("compact_stall", "allocstall_normal", "oom_kill")}
    return found


def main() -> None:
    """Print them all."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("run", "quantity", "value"))
    for folder in map(Path, sys.argv[1:]):
        rows.writerows((folder.name, *item) for item in of_run(folder).items())


if __name__ == "__main__":
    main()
