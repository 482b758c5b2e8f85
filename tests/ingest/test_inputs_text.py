"""Texts as people have them: each is read as the plain text is, or refused in words that say what it is.

``inputs/perf-script`` and ``inputs/ftrace`` are the same 60 events of a recording; most cases are made of them.
"""

import base64
import bz2
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ingest.formats import plain, sniff
from ingest.source import read_head
from ingest.trace import Context, Findings
from ptpool.errors import UsageError

INPUTS = Path(__file__).parent / "inputs"
CORPUS = Path(__file__).parent / "corpus"
PERF = (INPUTS / "perf-script" / "perf.script.txt").read_text()
FTRACE = (INPUTS / "ftrace" / "trace.txt").read_text()
DMESG = (INPUTS / "11-dmesg-ftrace-dump" / "dmesg.txt").read_text()
CYCLES = "".join(
    f"swapper     0 [000]    14.10{n:04}:    1000000      cycles: \n\tffffffff8106f3a6 native_safe_halt+0x6 ([kernel.kallsyms])\n\n"
    for n in range(1500)
)
DELTA = re.sub(r"(?m)\d+\.\d{6}: ", lambda found: f"0.000{found.start() * 7919 % 1000:03}: ", PERF)


Event = tuple[object, ...]
Reader = Callable[[str | bytes], tuple[list[Event], Findings]]


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Events of a text with names in place of numbers, and what was found."""

    def do(text: str | bytes, *, best_effort: bool = False) -> tuple[list[Event], Findings]:
        path = tmp_path / "trace.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        events: list[Event] = []
        form = sniff(read_head(path), path.name)
        with closing(form.open_trace([path], Context(best_effort=best_effort))) as trace:
            for rows in trace.batches():
                for ts, pfn, pid, comm, gfp, stack, *rest in rows.tolist():
                    task = None if comm < 0 else trace.comms[comm]
                    flags = None if gfp < 0 else trace.gfps[gfp]
                    events.append((ts, pfn, pid, task, flags, None if stack < 0 else trace.stacks[stack], *rest))
        return events, trace.found

    return do


def lines(change: Callable[[str], str], text: str = PERF) -> str:
    return "".join(change(line) for line in text.splitlines(keepends=True))


def on_frames(new: str, text: str = PERF) -> str:
    return re.sub(r"(?m)^\t(.*)$", new, text)


def on_headers(old: str, new: str, text: str = PERF) -> str:
    return re.sub(r"(?m)^(?=\S)" + old, new, text)


def after_chains(more: str) -> str:
    """Fields that are printed after the call chain take the place of the empty line."""
    return re.sub(r"(?m)^\n", more + "\n", PERF)


CPU = r"(.*?\[\d+\])"
TIME = r"(.*?\d+\.\d{6}: )"
FIELDS = {
    "misc": on_headers(CPU + " {4}", r"\1 K       "),
    "misc of a guest": on_headers(CPU + " {4}", r"\1 GK      "),
    "misc and time of day": on_headers(CPU, r"\1 K     2026-11-30 16:17:32.123456"),
    "time of day": on_headers(CPU, r"\1 2026-11-30 16:17:32.123456"),
    "no time of day": on_headers(CPU, r"\1 disabled"),
    "period": on_headers(TIME, r"\1         1 "),
    "pid": on_headers(r"(.*?) +(\d+) \[", r"\1     7/\2    ["),
    "latency format": on_headers(r"(.*?) \[0+(\d+)\]", r"\1   \2"),
    "machine_pid, vcpu": on_headers("", "VM:    5 VCPU:003 "),
    "flags": on_headers(r"(.*?kmem:mm_page_\w+:)", r"\1                        "),
    "addr, weight, data_src": on_headers(r"(.*)$", r"\1               0               0         68100142 |OP N/A|LVL N/A"),
    "srcline": on_frames("\t\\1\n  page_alloc.c:4567"),
    "srcline without a line": on_frames("\t\\1\n  [kernel.kallsyms][ffffffff813bdb88]"),
    "srcline, inlined": on_frames("\t\\1\n  mm/page_alloc.c:4567 (inlined)"),
    "srccode": on_frames("\t\\1\n|4567     page = get_page_from_freelist(gfp, order);"),
    "iregs": after_chains(" ABI:2    AX:0x0    BX:0xffff888100000000 "),
    "phys_addr": after_chains("        103e6f000"),
    "cgroup": after_chains(" /system.slice/a.service"),
    "insn": after_chains(" ilen: 3 insn: 0f 1f 00"),
    "brstack": after_chains("  0xffffffff81000000/0xffffffff81000010/P/-/-/0  "),
    "no symoff, no dso": on_frames("\t\\1").replace("+0x10 ([kernel.kallsyms])", ""),
    "user frames": after_chains("\t           f838f __GI___libc_write+0x4f (/usr/lib/libc.so.6)\n"),
    "blanks for tabs": on_frames(r"    \1"),
    "many blanks for tabs": on_frames(r"            \1"),
    "tabs and blanks lost": on_frames(r"\1"),
    "blanks for tabs, user frames": after_chains("               f838f __GI___libc_write+0x4f (libc.so.6)\n")
    .replace("\t", "        "),
    "blanks for tabs, no line end": on_frames(r"    \1").rstrip("\n"),
    "no line end": PERF.rstrip("\n"),
    "blanks for tabs, srcline": on_frames("    \\1\n  page_alloc.c:4567"),
    "indented": lines(lambda line: "    " + line),
    "indented, blanks for tabs": lines(lambda line: "    " + line.replace("\t", "        ")),
    "quoted": lines(lambda line: "> " + line),
    "events of hardware first": CYCLES + PERF,
    "tasks and maps first": "swapper     0 [000]     0.000000: PERF_RECORD_MMAP -1/0: [0xffff(0x1) @ 0]: x a\n" * 4000 + PERF,
    "warnings of perf": "'trace' not valid for hardware events. Ignoring.\nNo kallsyms or vmlinux with build-id 7 was found\n"
    + PERF,
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_perf_script(field: str, read: Reader) -> None:
    expected, _ = read(PERF)
    got, found = read(FIELDS[field])
    assert got == expected
    assert len(got) == 60
    assert all(event[5] for event in got)
    assert found.counts["damaged_lines"] == 0


def test_fields_without_a_chain(read: Reader) -> None:
    """perf script -G: the address and its source line follow the event."""
    bare = on_frames("").replace("\n\n", "\n").replace("\n\n", "\n")
    expected, _ = read(bare)
    got, _ = read(re.sub(r"(?m)^(\S.*)$", r"\1 ffffffff813bdb88 [unknown]\n  page_alloc.c:4567", bare))
    assert got == expected
    assert len(got) == 60


def test_names_that_look_like_fields(read: Reader) -> None:
    line = "{:>16} 405 [003]    14.923171: kmem:mm_page_free: page=0x1 pfn=0x{:x} order=0\n"
    names = ["Web Content", "cafe", "K", "a 7", "VM:", "VM: x", "dead beef", "]", "2026-11-30", "VCPU:003"]
    events, _ = read("".join(line.format(name, n) for n, name in enumerate(names, 1)))
    assert [(event[3], event[2], event[6]) for event in events] == [(name, 405, 3) for name in names]


def test_guests_run_on_cpus_of_their_own(read: Reader) -> None:
    text = "VM:    5 VCPU:003 Web Content   405/406  [001] GK  7.000001: kmem:mm_page_free: page=0x1 pfn=0x1 order=0\n"
    events, _ = read(text)
    assert [event[:4] for event in events] == [(7_000_001_000, 1, 406, "Web Content")]


ENCODINGS = {
    "utf-16 with mark": FTRACE.encode("utf-16"),
    "utf-16-le": FTRACE.encode("utf-16-le"),
    "utf-16-be": FTRACE.encode("utf-16-be"),
    "utf-16-be with mark": ("\ufeff" + FTRACE).encode("utf-16-be"),
    "utf-16, crlf": FTRACE.replace("\n", "\r\n").encode("utf-16"),
    "utf-32": FTRACE.encode("utf-32"),
    "utf-8 with mark": FTRACE.encode("utf-8-sig"),
    "utf-8, with marks between parts": ("\ufeff" + FTRACE.replace("            perf-405", "\ufeff            perf-405", 4)).encode(),
    "crlf": FTRACE.replace("\n", "\r\n").encode(),
    "crcrlf": FTRACE.replace("\n", "\r\r\n").encode(),
    "cr": FTRACE.replace("\n", "\r").encode(),
    "colours": lines(lambda line: f"\x1b[32m{line.rstrip()}\x1b[0m\n", FTRACE).encode(),
    "indented": lines(lambda line: "    " + line, FTRACE).encode(),
    "frames after tabs": FTRACE.replace(" => ", "\t\t=> ").encode(),
    "entities of html": FTRACE.replace("<", "&lt;").replace(">", "&gt;").encode(),
    "quoted twice": lines(lambda line: ">> " + line, FTRACE).encode(),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("chunk", [1 << 16, 1 << 10])
def test_encodings(encoding: str, chunk: int, read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_CHUNK", chunk)
    expected, _ = read(FTRACE)
    got, _ = read(ENCODINGS[encoding])
    assert got == expected
    assert len(got) == 60


def test_latin_1_in_a_name(read: Reader) -> None:
    events, _ = read(FTRACE.replace(" perf-405", " p\xe9rf-405").encode("latin-1"))
    assert [event[0] for event in events] == [event[0] for event in read(FTRACE)[0]]
    assert "p\ufffdrf" in {event[3] for event in events}


PREFIXES = {
    "printk": "[   15.200000] ",
    "printk, caller": "[   15.200000][  T405] ",
    "printk, caller is a CPU": "[   15.200000][    C3] ",
    "level": "<4>[   15.200000] ",
    "dmesg -x": "kern  :warn  : [   15.200000] ",
    "dmesg -T": "[Mon Nov 30 16:16:05 2026] ",
    "dmesg -e": "[Nov30 16:16] ",
    "dmesg -e, later": "[  +0.000123] ",
    "dmesg -d": "[   15.200000 <    0.000123>] ",
    "dmesg iso": "2026-11-30T16:16:05,123456+00:00 ",
    "syslog": "Nov 30 16:16:05 host kernel: [   15.200000] ",
    "journalctl -k": "Nov 30 16:16:05 host kernel: ",
    "journalctl, iso": "2026-11-30T16:16:05+0000 host kernel: ",
    "journalctl, monotonic": "[   15.200000] host kernel: ",
    "/dev/kmsg": "4,339,5140900,-;",
    "logcat": "11-30 16:16:05.123   405   405 I kernel  : ",
}
LOG = ["usb 1-1: new high-speed USB device number 2", "Call Trace:", " ? foo+0x1/0x2", " <TASK>", "---[ end trace ]---"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_logs(prefix: str, read: Reader) -> None:
    expected, _ = read(DMESG)
    dump = re.sub(r"(?m)^\[[ \d.]+\] ", "", DMESG).splitlines()
    got, found = read("".join(f"{PREFIXES[prefix]}{line}\n" for line in [*LOG, *dump[:20], *LOG, *dump[20:], *LOG]))
    assert got == expected
    assert len(got) == 60
    assert all(event[5] for event in got)
    assert {event[3] for event in got} == {event[3][:8] for event in read(FTRACE)[0]}
    assert found.counts["damaged_lines"] == 0


def test_function_graph_in_a_log(read: Reader) -> None:
    graph = (CORPUS / "function-graph.txt").read_text()
    assert read(lines(lambda line: "[   15.200000] " + line, graph))[0] == read(graph)[0]


def test_a_message_of_several_lines_in_a_journal(read: Reader) -> None:
    text = re.sub(r"(?m)^\[[ \d.]+\] +=>", "                              =>", DMESG)
    assert read(re.sub(r"(?m)^\[[ \d.]+\] ", "Nov 30 16:16:05 host kernel: ", text))[0] == read(DMESG)[0]


@pytest.mark.parametrize("chunk", [1 << 16, 300])
@pytest.mark.parametrize("width", [60, 72, 78, 100])
@pytest.mark.parametrize("quote", ["", "> "])
@pytest.mark.parametrize("text", [FTRACE, PERF], ids=["ftrace", "perf"])
def test_wrapped_by_a_mail_client(
    width: int, quote: str, chunk: int, text: str, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrapped(line: str) -> str:
        out = ""
        while "mm_page" in line and len(line) > width and (cut := line.rfind(" ", 40, width)) > 0:
            out, line = out + quote + line[:cut] + "\n", line[cut + 1 :]
        return out + quote + line

    monkeypatch.setattr(plain, "_CHUNK", chunk)
    assert read(lines(wrapped, text))[0] == read(text)[0]


def test_wrapped_function_graph(read: Reader) -> None:
    events, _ = read((INPUTS / "35-mail-wrapped-function-graph" / "trace.txt").read_bytes())
    assert [(event[1], event[8], event[7]) for event in events] == [(-1, 9, 2), (0x21400, 0, 0), (0x21400, 0, 1)]


LOSSES = {  # text: losses by CPU, number of them that are not counted
    FTRACE + "CPU:3 [LOST EVENTS]\n": ({}, {3: 1}),
    FTRACE + "CPU:3 [EVENTS DROPPED]\nCPU:1 [EVENTS DROPPED]\nCPU:3 [EVENTS DROPPED]\n": ({}, {3: 2, 1: 1}),
    FTRACE + "CPU:3 [LOST 17 EVENTS]\nCPU:2 [5 EVENTS DROPPED]\n": ({3: 17, 2: 5}, {}),
    DMESG + "[   15.2] CPU:3 [LOST EVENTS]\n": ({}, {3: 1}),
    PERF + "perf   392 [001]    15.680412: PERF_RECORD_LOST lost 17\n": ({1: 17}, {}),
    PERF + "perf   392 [001]    15.680412: PERF_RECORD_LOST_SAMPLES lost 3\n": ({1: 3}, {}),
    PERF + "perf   392 [001]    15.680412: PERF_RECORD_LOST\n": ({}, {None: 1}),
    PERF + "Warning:\nProcessed 3 events and lost 2 chunks!\n\nCheck IO/CPU overload!\n": ({}, {None: 1}),
    "# tracer: function_graph\n 1)  | /* mm_page_free: page=0 pfn=0x1 order=0 */\nCPU:1 [LOST EVENTS]\n": ({}, {1: 1}),
}


@pytest.mark.parametrize("text", LOSSES, ids=range(len(LOSSES)))
def test_losses(text: str, read: Reader) -> None:
    _, found = read(text)
    assert ({cpu: n for cpu, n in found.lost.items() if n}, dict(found.uncounted)) == LOSSES[text]


HUGE = "9" * 5000
IMPOSSIBLE = [
    FTRACE + f"CPU:{HUGE} [LOST 5 EVENTS]\n",
    FTRACE + f"CPU:1 [LOST {HUGE} EVENTS]\n",
    FTRACE + "CPU:1 [LOST 9223372036854775807 EVENTS]\n",
    FTRACE + "CPU:8192 [LOST 5 EVENTS]\n",
    FTRACE + f"CPU:{HUGE} [LOST EVENTS]\n",
    FTRACE + f"# entries-in-buffer/entries-written: {HUGE}/{HUGE}   #P:2\n",
    FTRACE + f"# entries-in-buffer/entries-written: 120/{HUGE}   #P:2\n",
    PERF + f"perf   392 [001]    15.680412: PERF_RECORD_LOST lost {HUGE}\n",
    PERF + "perf   392 [001]    15.680412: PERF_RECORD_LOST_SAMPLES lost 18446744073709551616\n",
]


@pytest.mark.parametrize("text", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_impossible_numbers(text: str, read: Callable[..., tuple[list[Event], Findings]]) -> None:
    with pytest.raises(UsageError, match=rf"line {text.count(chr(10))}: an impossible"):
        read(text)
    events, found = read(text, best_effort=True)
    assert (len(events), found.counts["damaged_lines"], dict(found.lost)) == (60, 1, {})


MARK = "            bash-123     [000] .....    14.000002: "
FRAME = " => entry_SYSCALL_64_after_hwframe"
GRAPH = "# tracer: function_graph\n 1)  | /* mm_page_free: page=0 pfn=0x1 order=0 */"
JOINED = {
    "a frame and an event": FTRACE.replace(FRAME + "\n", FRAME, 1),
    "the last frame of a kernel thread": FTRACE.replace(" => ret_from_fork_asm\n", " => ret_from_fork_asm", 1),
    "two events": re.sub(r"\n.*<stack trace>\n( => .*\n)+", "", FTRACE, count=1),
    "another event and one": FTRACE.replace("#\n", f"#\n{MARK}sched_switch: prev_comm=a", 1),
    "a comment and an event": FTRACE.replace("#\n", "#", 1),
    "a frame of perf and an event": PERF.replace(")\n\n", ")", 1),
    "two events of perf": re.sub(r"\n(\t.*\n)+\n", " ", PERF, count=1),
    "another event of perf and one": "perf   392 [001]    14.000001: sched:sched_switch: prev_comm=x " + PERF,
    "comments of function_graph": GRAPH + GRAPH.partition("\n")[2] + "\n",
    "another comment of function_graph": GRAPH.replace("/*", "/* sched_switch: x=1 */ /*") + "\n",
}


@pytest.mark.parametrize("case", JOINED)
def test_lines_that_run_into_each_other(case: str, read: Callable[..., tuple[list[Event], Findings]]) -> None:
    with pytest.raises(UsageError, match=r"line \d+: "):
        read(JOINED[case])
    events, found = read(JOINED[case], best_effort=True)
    assert found.counts["damaged_lines"] >= 1
    assert len(events) in ((0,) if "graph" in case else (58, 59))


MORE_TEXT = {
    "a marker": (FTRACE.replace("#\n", f"#\n{MARK}tracing_mark_write: state:\nsome = 000, other = 0x4\n", 1), 1),
    "a marker of three lines": (FTRACE.replace("#\n", f"#\n{MARK}print: a\n> b\n\n  #c\n", 1), 2),
    "trace_printk": (FTRACE.replace("#\n", f"#\n{MARK}my_function: a\nb\n", 1), 1),
    "an event of perf": ("perf   392 [001]    14.000001: ftrace:print: a\nb\nc\n" + PERF, 2),
    "a comment of function_graph": (GRAPH + "\n 1)  | /* state:\nsome = 000 */\n", 1),
}


@pytest.mark.parametrize("case", MORE_TEXT)
def test_text_of_several_lines(case: str, read: Reader) -> None:
    text, more = MORE_TEXT[case]
    events, found = read(text)
    assert len(events) == (1 if "graph" in case else 60)
    assert found.counts["lines_passed_over"] >= more
    assert found.counts["other_events"] == 1


def test_a_marker_of_two_lines(ingest: Callable[..., int], query: Callable[[str], list[tuple[object, ...]]]) -> None:
    assert ingest(INPUTS / "52-trace-marker-newline" / "trace.txt") == 0
    assert query("SELECT kind::VARCHAR, count(*) FROM page_event GROUP BY ALL ORDER BY ALL") == [
        ("alloc", 1),
        ("free", 1),
    ]
    assert query("SELECT value FROM import_stat WHERE name = 'lines_passed_over'") == [(1,)]


def test_a_stray_line_is_damage(read: Reader) -> None:
    with pytest.raises(UsageError, match="line 12: not a trace line"):
        read(FTRACE.replace(FRAME + "\n", FRAME + "\nwatchdog: BUG\n", 1))


def test_a_header_that_lost_its_hashes(read: Reader) -> None:
    header = """\
          _-----=> irqs-off
         / _----=> need-resched
        || /     delay
  TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
     | |         |   |||||     |         |
"""
    assert read(header + FTRACE)[0] == read(FTRACE)[0]
    assert len(read((INPUTS / "49-mail-2010-no-flags" / "trace.txt").read_bytes())[0]) == 4


@pytest.mark.parametrize("text", [DELTA, DELTA.partition("\n\n")[2]], ids=["all", "the rest"])
def test_differences_of_time(text: str, read: Callable[..., tuple[list[Event], Findings]]) -> None:
    for best_effort in (False, True):
        with pytest.raises(UsageError, match=r"differences, not times: \d+ of \d+ are less than the one before"):
            read(text, best_effort=best_effort)


def test_the_first_events_by_differences_of_time(read: Reader) -> None:
    line = "perf 405 [003] {}: kmem:mm_page_free: page=0x1 pfn=0x{:x} order=0\n"
    times = ("0.000000", "0.001893", "0.000849")
    with pytest.raises(UsageError, match="differences"):
        read("".join(line.format(time, n) for n, time in enumerate(times)))


def test_times_that_start_at_zero_or_go_back(read: Reader) -> None:
    relative = re.sub(r" 14\.(\d{6}): ", lambda found: f"  0.{int(found[1]) - 923171:06}: ", PERF)
    assert [event[0] for event in read(relative)[0]] == [event[0] - 14_923_171_000 for event in read(PERF)[0]]
    assert len(read(PERF * 3)[0]) == 180


REFUSED: dict[str, tuple[bytes, str]] = {
    "ebcdic": (FTRACE.encode("cp037"), "EBCDIC"),
    "base64": (base64.encodebytes(FTRACE.encode()), "base64"),
    "html": (b"<!DOCTYPE html>\n<html><body>the trace</body></html>", "web page"),
    "a stack that is none": (FTRACE.replace("<stack trace>", "stack trace").encode(), "line 5: not a trace line"),
    "bzip2": (bz2.compress(FTRACE.encode()), "bzip2"),
    "zip": (b"PK\x03\x04" + bytes(100), "zip"),
    "no comm": (on_headers(r"\S+ +", "").encode(), "no task"),
    "no time": (on_headers(r"(.*?\]).*?: ", r"\1 ").encode(), "no time"),
    "no fields": (re.sub(r"page=.*", "", PERF).encode(), "line 1"),
    "a dump": (b"0x290@perf.data [0x38]: event: 79\n.\n. ... raw event: size 56 bytes\n", "a dump of records"),
    "a dump later": (PERF.encode() + b"\n0x290@perf.data [0x38]: event: 79\n", "perf script -D"),
    "binary": (bytes(range(256)) * 9, "binary data"),
    "prose": (b"Dear all,\nthe trace follows.\n", "text without a trace line"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case: str, read: Reader) -> None:
    text, says = REFUSED[case]
    with pytest.raises(UsageError, match=says):
        read(text)


IMPORTED = {  # case: text, format, events, page tables
    "01-ftrace-lost-unknown": (FTRACE.replace("#\n", "#\nCPU:3 [LOST EVENTS]\n"), "ftrace"),
    "04-perf-script-srcline": (FIELDS["srcline"], "perf-script"),
    "05-perf-script-hw-first": (FIELDS["events of hardware first"], "perf-script"),
    "07-perf-script-misc": (FIELDS["misc"], "perf-script"),
    "10-utf16-bom": (ENCODINGS["utf-16 with mark"], "ftrace"),
    "11-dmesg-ftrace-dump": (DMESG, "ftrace"),
    "33-perf-script-spaces-for-tabs": (FIELDS["blanks for tabs"], "perf-script"),
}


@pytest.mark.parametrize("case", IMPORTED)
def test_imported(
    case: str, tmp_path: Path, ingest: Callable[..., int], query: Callable[[str], list[tuple[object, ...]]]
) -> None:
    text, form = IMPORTED[case]
    (tmp_path / "trace.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert ingest(tmp_path / "trace.txt") == 0
    assert query("SELECT format, events FROM capture") == [(form, 60)]
    assert query("SELECT count(*) FROM page_event WHERE consumer LIKE 'pgtable%'") == [(48,)]
    losses = query("SELECT name, cpu, value FROM import_stat WHERE severity = 'data_loss'")
    assert losses == ([("uncounted_losses", 3, 1)] if case.startswith("01") else [])
    others = query("SELECT value FROM import_stat WHERE name = 'other_events'")
    assert others == [(1500 if case.startswith("05") else 0,)]


def test_no_page_events(
    tmp_path: Path, ingest: Callable[..., int], db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "perf.script.txt").write_text(CYCLES)
    assert ingest(tmp_path / "perf.script.txt") == 2
    assert "no page-allocation events (1,500 other events)" in capsys.readouterr().err
    assert not db.exists()


@pytest.mark.parametrize("start", ["14.937769: ", "", "x-1 "])
def test_an_event_that_runs_into_a_frame_is_not_lost(start: str, read: Reader) -> None:
    first, second, rest = PERF.split("\n\n", 2)
    event = second[second.index("kmem:") :]
    with pytest.raises(UsageError, match="line"):
        read(f"{first} and a frame that is long enough for it {start}{event}\n\n{rest}")
    whole, _ = read(f"{first}\n\n{second}\n\n{rest}")
    got, found = read(f"{first} and a frame that is long enough for it {start}{event}\n\n{rest}", best_effort=True)
    assert (len(got), found.counts["damaged_lines"]) == (len(whole) - 1, 1)
