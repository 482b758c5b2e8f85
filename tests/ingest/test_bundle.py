"""Which file of a folder is the trace."""

from pathlib import Path

import pytest

from ingest.bundle import find_bundle
from ptpool.errors import UsageError

TEXT = b"a-1 [000] 1.000000: mm_page_free: page=0x1 pfn=0x10 order=0\n"
DATA = b"PERFILE2" + bytes(100)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {"perf.data": DATA, "perf.script.txt": TEXT, "a-trace.txt": TEXT, "kallsyms.zst": b""}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_the_binary_is_taken_and_with_it_the_symbols(folder: Path) -> None:
    found = find_bundle([folder], None, None)
    assert (found.format.name, found.traces, found.kallsyms) == (
        "perf-data",
        [folder / "perf.data"],
        folder / "kallsyms.zst",
    )
    assert folder / "kallsyms.zst" in found.files


def test_a_file_that_is_no_trace_is_passed_over(folder: Path) -> None:
    (folder / "perf.data").write_bytes(b"not perf's")
    assert find_bundle([folder], None, None).traces == [folder / "perf.script.txt"]
    for name in ("perf.script.txt", "a-trace.txt"):
        (folder / name).unlink()
    with pytest.raises(UsageError, match="no trace in this folder"):
        find_bundle([folder], None, None)


def test_the_files_next_to_the_trace_count_more_than_those_next_to_the_snapshots(folder: Path) -> None:
    others = folder / "others"
    for name in ("before/vmstat", "kallsyms", "uname", "cpuinfo"):
        (others / name).parent.mkdir(parents=True, exist_ok=True)
        (others / name).touch()
    (folder / "uname").touch()
    found = find_bundle([folder], None, others)
    assert found.snapshots == {("before", "vmstat"): others / "before" / "vmstat"}
    assert found.machine == {"uname": folder / "uname", "cpuinfo": others / "cpuinfo"}
    assert found.kallsyms == folder / "kallsyms.zst"


def test_a_format_that_is_asked_for_is_taken(folder: Path) -> None:
    assert find_bundle([folder], None, None, "ftrace").traces == [folder / "perf.script.txt"]
    assert find_bundle([folder / "perf.script.txt"], None, None).format.name == "ftrace"


def test_a_log_is_taken_where_there_is_no_trace(folder: Path) -> None:
    (folder / "dmesg.txt").write_bytes(TEXT)
    assert find_bundle([folder], None, None).traces == [folder / "perf.data"]
    for name in ("perf.data", "perf.script.txt", "a-trace.txt"):
        (folder / name).unlink()
    assert find_bundle([folder], None, None).traces == [folder / "dmesg.txt"]


def test_a_folder_with_a_text_that_is_no_trace(folder: Path) -> None:
    for name in ("perf.data", "perf.script.txt", "a-trace.txt"):
        (folder / name).unlink()
    (folder / "trace.txt").write_bytes(TEXT.decode().encode("cp037"))
    with pytest.raises(UsageError, match=r"trace.txt: not a trace \(text in EBCDIC\)"):
        find_bundle([folder], None, None)
