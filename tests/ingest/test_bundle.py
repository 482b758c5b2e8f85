"""Which file of a folder is the trace."""

from dataclasses import replace
from pathlib import Path

import pytest

from ingest import bundle, formats
from ingest.bundle import find_bundle
from ptpool.errors import UsageError

TEXT = b"a-1 [000] 1.000000: mm_page_free: page=0x1 pfn=0x10 order=0\n"
DATA = b"PERFILE2" + bytes(100)


def declare(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let perf.data be read by a module, or by none."""
    about = "perf.data; convert it first"
    forms = tuple(
        replace(form, about=about, module=module) if form.name == "perf-data" else form for form in formats.FORMATS
    )
    monkeypatch.setattr(formats, "FORMATS", forms)
    monkeypatch.setattr(bundle, "FORMATS", forms)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {"perf.data": DATA, "perf.script.txt": TEXT, "a-trace.txt": TEXT, "kallsyms.zst": b""}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_the_binary_is_taken_and_with_it_the_symbols(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "some.module")
    found = find_bundle([folder], None, None)
    assert (found.format.name, found.traces, found.kallsyms) == (
        "perf-data",
        [folder / "perf.data"],
        folder / "kallsyms.zst",
    )
    assert folder / "kallsyms.zst" in found.files


def test_the_text_is_taken_while_the_binary_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "")
    found = find_bundle([folder], None, None)
    assert found.traces == [folder / "perf.script.txt"]
    (folder / "perf.script.txt").unlink()
    with pytest.raises(UsageError, match=r"perf\.data is not read yet"):
        find_bundle([folder], None, None)


def test_a_format_that_is_asked_for_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, "some.module")
    assert find_bundle([folder], None, None, "ftrace").traces == [folder / "perf.script.txt"]
    assert find_bundle([folder / "perf.script.txt"], None, None).format.name == "ftrace"
