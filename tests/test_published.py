"""Published measurements: every row says what, where, how sure, and which way is better; every source is listed."""

from collections import Counter

import pytest

from ptpool.warehouse import open_warehouse

WORDS = {
    "topic": {"mapping", "fragmentation", "conversion", "memory", "flush", "walk"},
    "arch": {"x86_64", "aarch64"},
    "workload_class": {"macro", "micro", "primitive", "io", "memory", "survey", "field"},
    "better_when": {"lower", "higher"},
    "certainty": {"measured", "approximate", "derived", "direction", "opinion", "weak"},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with open_warehouse(tmp_path_factory.mktemp("published") / "new.duckdb", write=True) as connection:
        cursor = connection.execute("FROM published_measurement")
        names = [column[0] for column in cursor.description]
        measured = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        sources = connection.execute("FROM published_source").fetchall()
        scale = connection.execute(
            "SELECT metric, measurements, low_pct, median_pct, high_pct FROM mapping_scale"
        ).fetchall()
    return measured, sources, {metric: numbers for metric, *numbers in scale}


def test_every_row_is_well_formed(rows):
    measured, _, _ = rows
    for row in measured:
        for column, words in WORDS.items():
            assert row[column] in words, row
        figure = row["delta_pct"] is not None or row["value"] is not None
        assert figure == (row["certainty"] != "direction"), row
        assert (row["value"] is None) == (row["unit"] is None), row
        assert row["certainty"] in ("measured", "approximate") or row["note"] or row["topic"] == "flush", row


def test_no_figure_is_there_twice(rows):
    measured, _, _ = rows
    what = Counter(
        (r["platform"], r["benchmark"], r["metric"], r["delta_pct"], r["value"], r["source"]) for r in measured
    )
    assert [key for key, times in what.items() if times > 1] == []


def test_every_source_is_listed_and_used(rows):
    measured, sources, _ = rows
    assert {row["source"] for row in measured} == {source for source, *_ in sources}
    for _, posted, message_id, read_in in sources:
        assert read_in and (posted is None or posted[:2] == "20")
        assert message_id is None or "@" in message_id


def test_the_ballpark_has_the_source_that_its_mail_names(rows):
    measured, sources, _ = rows
    in_mail = {source for source, _, message_id, _ in sources if (message_id or "").startswith("20250829115250.")}
    of_scale = [
        r for r in measured if r["topic"] == "mapping" and r["metric"] == "time" and r["certainty"] == "measured"
    ]
    assert of_scale and {r["source"] for r in of_scale if r["workload_class"] == "macro"} == in_mail


def test_results_in_favour_of_small_pages_are_there(rows):
    measured, _, _ = rows
    for benchmark in ("kbuild", "memtier", "netperf"):
        assert any(r["benchmark"] == benchmark and "4K pages were best" in r["note"] for r in measured)


def test_the_scale_takes_measured_whole_workloads_of_one_metric(rows):
    _, _, scale = rows
    assert scale["time"] == pytest.approx(
        [3, 2.68, 2.96, 4.86]
    )  # neither the ballpark of 5 % nor a build's system time
    assert scale["system time"] == pytest.approx([1, 12.77, 12.77, 12.77])
    assert scale["throughput"] == pytest.approx([3, 2.58, 3.5, 5.07])
