"""Fuzzes readers and replays: mutated inputs, one after the other, in a child process with limits on time and memory.

    python tests/fuzz/campaign.py [--seconds 60] [--inputs N] [--first N] [TARGET ...]
    python tests/fuzz/campaign.py --again .fuzz/TARGET-…

Every input follows from the target's name and a number. What counts as a finding: any exception but a UsageError, a
process that dies, ten seconds without an end, a GiB more than an idle process has; and, where a target can tell, an
event lost without a word. Findings go to .fuzz/, as small as dropping parts makes them.
"""

import argparse
import hashlib
import mmap
import os
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "support"), str(_HERE.parents[1])]

FOUND = Path(".fuzz")
SECONDS_EACH, BYTES_EACH = 10, 1 << 30
_TRIALS = 300  # to make a finding smaller


class Tried(NamedTuple):
    """How inputs of a target fared."""

    inputs: int
    refused: int
    findings: Counter[str]  # by where they are


# ------------------------------------------------------------------------------------------------- one input


def targets():
    """All of them, by name; loading them takes a second or two."""
    from machines import MACHINES
    from snapshots import SNAPSHOTS
    from traces import TRACES

    return TRACES | SNAPSHOTS | MACHINES


def input_of(name, seeds, target, number):
    """The input of that number, and whether it is read with --best-effort. The first are the seeds themselves."""
    from mutations import mutated

    if number < len(seeds):
        return seeds[number], False
    random = Random(f"{name}:{number}")
    files = random.choice(seeds)
    changed = [each for each in files if target.changed(each)]
    return mutated(files, changed, random, target.text), random.random() < 0.4


def fault_of(target, files, best_effort):
    """Read an input: "" if it is good, "refused" or where it fails; and the traceback."""
    from ptpool.errors import UsageError

    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        target.read(files, folder, best_effort)
    except UsageError as error:
        str(error).encode("utf-8", "surrogateescape")
        return "refused", ""
    except Exception as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        told = f": {re.sub(r'[0-9]+', 'N', str(error))[:60]}" if isinstance(error, AssertionError) else ""
        return f"{type(error).__name__} at {place}{told}", traceback.format_exc()
    finally:
        shutil.rmtree(folder)
    return "", ""


def reduced(target, files, best_effort, fault, tick):
    """The smallest files with the same fault that dropping parts leads to."""
    from mutations import smaller

    trials, going = 0, True
    while going:
        going = False
        for fewer in smaller(files):
            trials += 1
            if trials > _TRIALS:
                return files
            tick()
            if fault_of(target, fewer, best_effort)[0] == fault:
                files, going = fewer, True
                break
    return files


def save(name, number, fault, told, files, best_effort):
    """Keep a finding: its files, and what happened."""
    folder = FOUND / f"{name}-{hashlib.sha256(fault.encode()).hexdigest()[:8]}"
    shutil.rmtree(folder, ignore_errors=True)
    for each, data in files.items():
        (folder / "files" / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / each).write_bytes(data)
    (folder / "finding.txt").write_text(f"{name} {int(best_effort)} {number}\n{fault}\n{told}\n", errors="replace")


def try_inputs(name, numbers, tick=lambda number, refused: False):
    """Try inputs in this process, until `tick`, which is called before each, says to stop; findings are saved."""
    target = targets()[name]
    seeds = target.seeds()
    done, refused, findings = 0, 0, Counter()
    for number in numbers:
        if tick(number, refused):
            break
        files, best_effort = input_of(name, seeds, target, number)
        fault, told = fault_of(target, files, best_effort)
        done += 1
        refused += fault == "refused"
        if fault not in ("", "refused"):
            findings[fault] += 1
            if findings[fault] == 1:
                files = reduced(target, files, best_effort, fault, partial(tick, number, refused))
                save(name, number, fault, told, files, best_effort)
    return Tried(done, refused, findings)


# ------------------------------------------------------------------------------------------------- many, in a child

_SHARED = struct.Struct("qdqq")  # number (-1: loading), when it began, inputs done and refused by this child


def _limit_memory():
    """A GiB more than this process has, of address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES_EACH,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _child(name, first, last, stop_at, shared, report):
    """Try inputs from `first` on; what is found goes down a pipe."""
    from traces import small_blocks

    small_blocks()
    seeds = len(targets()[name].seeds())
    warm = try_inputs(name, range(min(seeds, 40)))
    begun = time.monotonic()
    _limit_memory()

    def tick(number, refused):
        now = time.monotonic()
        shared[:] = _SHARED.pack(number, now, number - first, refused)
        return number >= last or (stop_at > 0 and now - begun > stop_at)

    tried = try_inputs(name, range(first, last + 1), tick)
    faults = "\n".join(f"{n} {fault}" for fault, n in (tried.findings + warm.findings).items())
    os.write(report, f"{tried.inputs} {tried.refused} {time.monotonic() - begun}\n{faults}".encode())


def campaign(name, seconds, inputs, first):
    """Fuzz one target in children, each of which goes on where the one before it died."""
    shared = mmap.mmap(-1, _SHARED.size)
    done = refused = 0
    spent, findings, peak = 0.0, Counter(), 0
    while done < inputs and spent < seconds:
        report, theirs = os.pipe()
        shared[:] = _SHARED.pack(-1, time.monotonic(), 0, 0)
        child = os.fork()
        if child == 0:
            try:
                os.close(report)
                _child(name, first + done, first + inputs, max(seconds - spent, 0.01), shared, theirs)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(theirs)
        begun, hung, ended = time.monotonic(), False, 0
        while not ended:
            time.sleep(0.02)
            ended, status, usage = os.wait4(child, os.WNOHANG)
            number, since, *_ = _SHARED.unpack(shared[:])
            if not ended and number >= 0 and time.monotonic() - since > SECONDS_EACH:
                hung = True
                os.kill(child, signal.SIGKILL)
        peak = max(peak, usage.ru_maxrss)
        with os.fdopen(report) as pipe:
            head, *faults = pipe.read().split("\n") or [""]
        number, since, so_far, of_them = _SHARED.unpack(shared[:])
        if head:
            so_far, of_them, took = int(head.split()[0]), int(head.split()[1]), float(head.split()[2])
            findings += Counter({fault.split(" ", 1)[1]: int(fault.split()[0]) for fault in faults if fault})
        elif number < 0:
            raise SystemExit(f"{name}: it does not start")
        else:
            took, so_far = time.monotonic() - begun, so_far + 1
            fault = "hang" if hung else f"dies of signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "dies"
            findings[f"{fault} (input {number})"] += 1
            target = targets()[name]
            files, best_effort = input_of(name, target.seeds(), target, number)
            save(name, number, f"{fault} (input {number})", "", files, best_effort)
        done, refused, spent = done + so_far, refused + of_them, spent + took
    return done, spent, refused, findings, peak


def again(folder):
    """Read a finding once more; the traceback, if it still is one."""
    name, best_effort, _ = (folder / "finding.txt").read_text().splitlines()[0].split()
    paths = [path for path in (folder / "files").rglob("*") if path.is_file()]
    files = {path.relative_to(folder / "files").as_posix(): path.read_bytes() for path in paths}
    return fault_of(targets()[name], files, best_effort == "1")


def main():
    """Fuzz targets, one after the other, and print a line for each."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("targets", nargs="*", metavar="TARGET")
    arguments.add_argument("--seconds", type=float, default=60, help="for each target")
    arguments.add_argument("--inputs", type=int, default=1 << 60, help="for each target, at most")
    arguments.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments.add_argument("--again", type=Path, help="a folder of .fuzz/")
    wanted = arguments.parse_args()
    if wanted.again:
        from traces import small_blocks

        small_blocks()
        print(*again(wanted.again), sep="\n")
        return 0
    found = 0
    print(f"{'target':<20} {'inputs':>9} {'seconds':>8} {'refused':>8} {'findings':>8} {'peak MiB':>9}")
    for name in wanted.targets or list(_names()):
        done, spent, refused, findings, peak = campaign(name, wanted.seconds, wanted.inputs, wanted.first)
        share = f"{100 * refused / max(done, 1):.0f} %"
        print(f"{name:<20} {done:>9,} {spent:>8.0f} {share:>8} {len(findings):>8} {peak >> 10:>9,}", flush=True)
        for fault, n in findings.most_common():
            print(f"    {n:>6,} times {fault}", flush=True)
        found += len(findings)
    return min(found, 1)


def _names():
    """Names of all targets, loaded in a child: this process stays small, so that it can fork."""
    report, theirs = os.pipe()
    if (child := os.fork()) == 0:
        os.write(theirs, "\n".join(targets()).encode())
        os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    with os.fdopen(report) as pipe:
        return pipe.read().split()


if __name__ == "__main__":
    sys.exit(main())
