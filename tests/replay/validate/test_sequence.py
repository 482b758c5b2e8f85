"""The direct map against real kernels: every split, collapse and page-table walk of 11,900 recorded permission changes."""

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ptpool.cli import run
from ptpool.warehouse import open_warehouse
from replay.validate.sequence import replay_sequence

SPLITS = sorted((Path(__file__).parents[3] / "data" / "splits").glob("*.jsonl.zst"))
ONE = SPLITS[0].with_name("612-1.jsonl.zst")
NAMES = [path.name.partition(".")[0] for path in SPLITS]


@pytest.fixture(scope="module")
def sequences():
    return {path.name.partition(".")[0]: replay_sequence(path) for path in SPLITS}


def lines_of(path):
    with pa.input_stream(str(path), compression="zstd") as stream:
        return stream.read().decode().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_model_does_what_the_kernel_did(sequences, name):
    assert sequences[name].first_mismatch == ""
    assert sequences[name].mismatches == 0
    assert sum(sum(operation.predicted[:2]) for operation in sequences[name].operations) > 10  # as the kernel split


@pytest.mark.slow
def test_there_are_recordings_of_four_kernels_and_one_collapses(sequences):
    collapses = {name.partition("-")[0]: [0, 0] for name in NAMES}
    assert set(collapses) >= {"61", "612", "73", "73arm64"}
    for name, sequence in sequences.items():
        for operation in sequence.operations:
            collapses[name.partition("-")[0]][0] += operation.recorded[2]
            collapses[name.partition("-")[0]][1] += operation.recorded[3]
    assert collapses["61"] == collapses["612"] == collapses["73arm64"] == [0, 0]
    assert min(collapses["73"]) > 0


def test_a_file_takes_one_line_and_its_counters_go_into_the_warehouse(tmp_path, capsys):
    db = tmp_path / "w.duckdb"
    with open_warehouse(db, write=True):
        pass
    assert run(["replay", "validate", "--sequence", str(ONE), str(SPLITS[0]), "--db", str(db), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(Path(row["file"]).name, row["mismatches"]) for row in shown] == [(p.name, 0) for p in (ONE, SPLITS[0])]

    assert run(["replay", "validate", "--sequence", str(ONE), "--db", str(db)]) == 0  # replaces its rows
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.execute(
            "SELECT quantity, recorded_after - recorded_before, null_error, model_error FROM validation WHERE capture_id = ? ORDER BY 1",
            [ONE.name],
        ).fetchall()
    assert rows == [("direct_map_level2_splits", 20, 20, 0), ("direct_map_level3_splits", 2, 2, 0)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"d_l2s":1', '"d_l2s":0', "predicted 1 2M and 0 1G splits, 0 and 0 collapses; recorded 0 2M"),
        ('"8000000000000121"]', '"8000000000000123"]', "walked at level"),
        ('"f8000000000407"]', '"e8000000000407"]', "walked at level"),
    ],
    ids=["counter", "walk", "contiguous hint"],
)
def test_what_is_not_as_recorded_is_told_in_words(tmp_path, capsys, monkeypatch, old, new, told):
    monkeypatch.chdir(tmp_path)
    meta, *lines = lines_of(next(path for path in (ONE, SPLITS[-1]) if any(old in line for line in lines_of(path))))
    path = tmp_path / "changed.jsonl"
    path.write_text("\n".join([meta, *(line.replace(old, new) if '"op"' in line else line for line in lines)]))
    assert run(["replay", "validate", "--sequence", str(path)]) == 1
    shown = capsys.readouterr()
    assert "changed.jsonl, line " in shown.err and told in shown.err
    assert not list(tmp_path.glob("*.duckdb"))


def damaged():
    meta, before, first, *_ = lines_of(ONE)
    yield "empty", ""
    yield "not JSON", meta + "\n{"
    yield "a number", "1\n"
    yield "no meta", first
    yield "cut off", "\n".join([meta, before, first])
    yield "beyond memory", meta.replace('"max_pfn":', '"max_pfn":99999999999')
    yield "unknown operation", "\n".join([meta, before, first.replace('"op":"', '"op":"z')])
    yield "outside", "\n".join([meta, before, first.replace('"pfn":', '"pfn":9')])
    yield "not a walk", "\n".join([meta, before, first.replace('"after":', '"after":[[5]],"x":')])
    yield "backwards", "\n".join([meta, before, first.replace('"npages":', '"npages":-')])
    yield "nested", "[" * 100_000


DAMAGED = list(damaged())


@pytest.mark.parametrize("text", [text for _, text in DAMAGED], ids=[name for name, _ in DAMAGED])
def test_damaged_files_are_refused_with_their_line(tmp_path, capsys, text):
    path = tmp_path / "damaged.jsonl"
    path.write_text(text)
    assert run(["replay", "validate", "--sequence", str(path), "--db", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "damaged.jsonl, line " in error and "Traceback" not in error
    assert len(error.strip().splitlines()) <= 3


def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path, capsys):
    whole = ONE.read_bytes()
    path = tmp_path / "cut.jsonl.zst"
    path.write_bytes(whole[: len(whole) // 2])
    assert run(["replay", "validate", "--sequence", str(path)]) == 2
    assert "cut.jsonl.zst" in capsys.readouterr().err
