#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bundle.py FOLDER NAME=VALUE...: makes what a guest left a bundle for `ptpool ingest trace`, and adds run.json.

Left out of the trace is what the pool itself did: allocations of its refills, tables of its own splits, what its
shrinker freed. It is known by the innermost frame outside the page allocator (functions of the module that allocate
or free are called ptpools_*). What is left is what the kernel asked for, whoever supplied it, because the hooks emit
mm_page_alloc and mm_page_free for every table. A table that the pool could not serve at once stands where it was asked
for (ptpools_asks), not where its refill had ended. In before/kpageflags the tables alive are shown as ordinary pages:
the pool was switched on after that snapshot, and has none of them.
"""

import array
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PGTABLE = 1 << 26  # of kpageflags (include/uapi/linux/kernel-page-flags.h)
TYPES = {"MIGRATE_UNMOVABLE": 0, "MIGRATE_MOVABLE": 1, "MIGRATE_RECLAIMABLE": 2, "MIGRATE_HIGHATOMIC": 3}
"""Numbers in free_lists: enum migratetype (include/linux/mmzone.h, 6.12) without CMA and MEMORY_ISOLATION."""
ALLOCATOR = re.compile(
    r"trace_event_.*|__traceiter_.*|event_trigger.*|stacktrace_.*|__trace_stack.*|alloc_pages.*|__alloc_pages.*"
    r"|__free_pages.*|free_unref_.*|free_one_page|free_pages_prepare|ptp_(alloc|asked|table)|(__)?split_large_page"
    r"|__change_page_attr.*|change_page_attr_set_clr|__?rmqueue.*|get_page_from_freelist|try_to_claim_block"
)
OWN = re.compile(r"ptpools_\w+|set_memory_ptpkey|set_memory_4k")
WORTH_KEEPING = re.compile(
    r"\] (ptpools: (?!loading)|BUG|WARNING|Oops|Out of memory|.*(allocation failure|lockup|stall)"
    r"|CPU: |Call Trace| </?TASK>|  [\w.]+\+0x)"
)
EVENT = re.compile(r"(mm_page_\w+):.* pfn=(\S+) order=(\d+)")
HEAD = re.compile(r".*?-(\d+) +\[\d+\].*? (\d+\.\d+): (?=mm_page_)")
"""Of an event: who (pid), where and when (s)."""
TABLE = re.compile(r"=> ptp_alloc\b")


README = """{strategy}: workload {workload} (data/lab/pools/workloads.csv), memory {fragmentation} (fragmentations.csv)
run.json says with which parameters; made by data/lab/pools/record.sh in a guest under software emulation:
the order of events is real, the gaps between CPUs are not
before/: no pool yet; active/: right after it was switched on; after/: at the end
the trace has what everybody asked for, whoever supplied it, without the pool's own events
"""


def entries(trace: Path) -> Iterator[list[str]]:
    """Each event with its stack, in the order of the trace."""
    found: list[list[str]] = []
    last: dict[str, list[str]] = {}
    entry: list[str] = []
    with trace.open(errors="replace") as lines:
        for line in lines:
            if line.startswith("#") or line == "\n":
                continue
            if line.startswith(" => "):
                entry.append(line)
                continue
            cpu = line[line.index("[") : line.index("]")]
            if "<stack trace>" in line:
                entry = last.get(cpu, [])
                entry.append(line)
            else:
                entry = last[cpu] = [line]
                found.append(entry)
    yield from found


def pools_own(entry: list[str]) -> str:
    """The pool's function that an event comes from; empty: it is the kernel's."""
    for line in entry[2:]:
        name = re.split(r"[ +.]", line[4:].strip())[0]
        if OWN.fullmatch(name):
            return name
        if not ALLOCATOR.fullmatch(name):
            break
    return ""


class Trace(NamedTuple):
    """What a trace came to."""

    events: int
    left_out: Counter[str]
    waits: list[tuple[int, int]]
    """Of tables that were not served at once: when they were asked for and served, microseconds."""


def without_pool(trace: Path, cpus: str) -> Trace:
    """Rewrites the trace: without the pool's own events, and each table where it was asked for."""
    kept: list[list[str]] = []
    left_out: Counter[str] = Counter()
    asking: dict[str, list[str]] = {}
    waits: list[tuple[int, int]] = []
    for entry in entries(trace):
        own = pools_own(entry)
        head, event = HEAD.match(entry[0]), EVENT.search(entry[0])
        if head is None or (own and event is None):
            sys.exit(f"bundle.py: {trace}: not an event: {entry[0]}")
        if own == "ptpools_asks":
            asking[head[1]] = entry
            kept.append(entry)
        elif own:
            left_out[f"{own} {event[1]} order {event[3]}{' failed' if event[2] == '0x0' else ''}"] += 1
            if kept and "extfrag" in kept[-1][0] and f"pfn={event[2]} " in kept[-1][0]:
                kept.pop()
        elif head[1] in asking and "mm_page_alloc:" in entry[0] and any(map(TABLE.search, entry)):
            asked = asking.pop(head[1])
            place = HEAD.match(asked[0])
            waits.append((round(1e6 * float(place[2])), round(1e6 * float(head[2]))))  # type: ignore[index]
            asked[:] = [place[0] + entry[0][head.end() :], asked[1], *entry[2:]]  # type: ignore[index]
        else:
            kept.append(entry)
    kept = [entry for entry in kept if pools_own(entry) != "ptpools_asks"]  # nor what was never served
    lines = sum(1 + (len(entry) > 1) for entry in kept)
    with trace.open("w") as out:
        out.write(f"# tracer: nop\n#\n# entries-in-buffer/entries-written: {lines}/{lines}   #P:{cpus}\n#\n")
        for entry in kept:
            out.writelines(entry)
    return Trace(len(kept), left_out, waits)


def refill_ns(waits: list[tuple[int, int]]) -> int | None:
    """What a refill takes: the median of those that overlap no other; where all do, the least."""
    alone = [
        served - asked
        for nth, (asked, served) in enumerate(waits)
        if all(other == nth or end < asked or served < begin for other, (begin, end) in enumerate(waits))
    ]
    if alone:
        return 1000 * sorted(alone)[len(alone) // 2]
    return min((1000 * (served - asked) for asked, served in waits), default=None)


def parameters_of(stats: str) -> dict[str, int | list[int]]:
    """The line `parameters` of pool_stats: those of the Python strategy of the same name."""
    found: dict[str, int | list[int]] = {}
    for pair in re.search(r"^parameters (.*)$", stats, re.MULTILINE)[1].split():  # type: ignore[index]
        name, value = pair.split("=")
        found[name] = [int(part) for part in value.split("-")] if name == "refill_orders" else int(value)
    return found


def main() -> None:
    """Rewrite the folder in place."""
    folder, said = Path(sys.argv[1]), dict(pair.split("=", 1) for pair in sys.argv[2:])
    if not (folder / "after" / "pool_stats").is_file():
        sys.exit(f"bundle.py: {folder}: no after/pool_stats; the guest did not record")
    if lost := re.findall(
        r"^(?:overrun|dropped events|commit overrun): [^0].*$", (folder / "ring_stats").read_text(), re.M
    ):
        sys.exit(f"bundle.py: {folder}: events were lost ({lost[0]}): a larger buffer_kib")
    done = without_pool(folder / "trace.txt", said["cpus"])
    for moment in ("before", "after"):
        flags = array.array("Q", (folder / moment / "kpageflags").read_bytes())
        if moment == "before":
            flags = array.array("Q", (flag & ~PGTABLE for flag in flags))
        (folder / moment / "kpageflags.u64le").write_bytes(flags.tobytes())
        (folder / moment / "kpageflags").unlink()
        notes = {"types": TYPES, "cpus": int(said["cpus"])}
        (folder / moment / "free_lists.json").write_text(json.dumps(notes) + "\n")
        (folder / moment / "page_tables").unlink(missing_ok=True)
        (folder / moment / "pool_pages").unlink(missing_ok=True)
    stats = (folder / "after" / "pool_stats").read_text()
    run = {
        "strategy": re.search(r"^strategy (\S+)", stats, re.MULTILINE)[1],  # type: ignore[index]
        "parameters": parameters_of(stats),
        **{name: int(said[name]) if said[name].isdigit() else said[name] for name in said},
        "kernel": (folder / "uname").read_text().split()[1],
        "hooks_sha256": hashlib.sha256((HERE / "hooks.patch").read_bytes()).hexdigest(),
        "events": done.events,
        "asked_earlier": len(done.waits),
        **({"refill_ns": refill_ns(done.waits)} if done.waits else {}),
        "pools_own_events": dict(sorted(done.left_out.items())),
    }
    (folder / "run.json").write_text(json.dumps(run, indent=1) + "\n")
    (folder / "README.txt").write_text(README.format(**run))
    (folder / "console").unlink(missing_ok=True)
    said_by_kernel = (folder / "console.log").read_text(errors="replace").splitlines(keepends=True)
    (folder / "console.log").write_text("".join(line for line in said_by_kernel if WORTH_KEEPING.search(line)))
    version = (folder / "version").read_text()
    (folder / "version").write_text(re.sub(r"\(\S+@\S+\) ", "", version))
    counts = f"{len(done.waits)} asked earlier, {done.left_out.total()} of the pool left out"
    sys.stderr.write(f"bundle.py: {done.events} events, {counts}\n")


if __name__ == "__main__":
    main()
