"""What goes into the figures: curves, cells and labels; the drawing itself is only smoke-tested."""

import numpy as np
import pandas as pd
import pytest

from reports.case import Case, strategies
from reports.sections import coverage, mapping_cost, mosaic, pool, splits, strip, trade_offs
from reports.style import alike, spread

DESIGN = (
    "unprotected oracle ctor-naive pte-mapped self-split small-reserve full-reserve reserve-block reserve-block-percpu "
    "pba pte-cache migrate-unmapped unmapped-alloc freetype generic"
)
OURS = ("generic-separate", "buddy-reserve")  # added to compare with, or of our own


def test_every_strategy_of_the_design_has_a_look_of_its_own() -> None:
    looks = strategies()
    assert list(looks) == [*DESIGN.split(), *OURS]
    assert len({row["colour"] for row in looks.values()}) == len(looks)
    assert len({(row["line"], row["marker"]) for row in looks.values()}) == len(looks)


def test_curves_start_at_zero_and_end_with_the_recording() -> None:
    steps = pd.DataFrame(
        [("pba", "refill", 1.0, 2), ("pba", "outside", 1.0, 1), ("pba", "refill", 4.0, 3)],
        columns=["strategy", "cause", "t_s", "splits"],
    )
    lines = splits.curves(steps, 10.0)
    of = {cause: part[["t_s", "splits"]].to_numpy().tolist() for cause, part in lines.groupby("cause")}
    assert of["total"] == [[0, 0], [1, 3], [4, 6], [10, 6]]
    assert of["refill"] == [[0, 0], [1, 2], [4, 5], [10, 5]]
    assert of["outside"] == [[0, 0], [1, 1], [10, 1]]


def runs(*rows: tuple[str, str, str, int, int]) -> pd.DataFrame:
    table = [("pba", *row) for row in rows]
    return pd.DataFrame(table, columns=["strategy", "moment", "leaf", "keyed", "first_cell", "last_cell"])


def test_holes_are_left_out_by_whole_rows() -> None:
    table = runs(("start", "2M", "none", 0, 40), ("start", "1G", "none", 320, 351))
    place = mosaic.layout(table, 512)
    assert place.across == 32
    assert place.rows == (0, 1, -1, 10)
    codes = mosaic.grid(table, "pba", "start", place)
    assert codes.shape == (4, 32)
    assert (codes[1] != mosaic.HOLE).sum() == 9
    assert (codes[2] == mosaic.HOLE).all()
    assert set(np.unique(codes[3])) == {mosaic.KINDS.index("1G none") + 1}


def test_cells_grow_so_that_the_picture_does_not() -> None:
    page = 4096
    assert mosaic.cell_pages((512 << 20) // page) == 512
    assert mosaic.cell_pages((32 << 30) // page) == 512
    big = mosaic.cell_pages((1 << 40) // page)
    assert (1 << 40) // page // big == mosaic.MOST_CELLS


@pytest.mark.parametrize("side", [7, 14, 28])
def test_kinds_of_cell_look_different_in_grey(side: int) -> None:
    tiles = {}
    for code in range(1, len(mosaic.KINDS) + 1):
        codes = np.full((1, 1), code, dtype=np.uint8)
        for changed in (False, True):
            tile = mosaic.raster(codes, np.full((1, 1), changed), side)
            tiles[mosaic.KINDS[code - 1], changed] = (tile @ [0.299, 0.587, 0.114]).round(-1).tobytes()
    assert len(set(tiles.values())) == len(tiles)


@pytest.mark.parametrize("values", [[5, 5, 5], [0, 0, 9], [1, 2, 3]])
def test_labels_keep_apart_and_in_order(values: list[float]) -> None:
    places = spread(values, 2, 0, 10)
    assert places == sorted(places)
    assert min(np.diff(places)) > 1.9
    assert places[0] >= 0
    assert places[-1] <= 10


def test_pool_levels_are_kept_until_they_change() -> None:
    nan = float("nan")
    samples = pd.DataFrame(
        [("pba", 1.0, 10, 512, 502, 3), ("pba", 2.0, 12, nan, 500, nan), ("pba", 3.0, nan, nan, nan, nan)],
        columns=["strategy", "t_s", "ptp_live", "pool_held", "pool_idle", "reserve_low"],
    )
    kept = pool.carried(samples, 9.0)
    assert kept["t_s"].tolist() == [1, 2, 3, 9]
    assert kept["pool_held"].tolist() == [512] * 4
    assert kept["reserve_low"].dropna().tolist() == [3]


@pytest.mark.parametrize(("timing", "unit"), [("emulated", "emulated seconds"), ("real", "seconds")])
def test_time_axes_say_whose_seconds_they_count(timing: str, unit: str) -> None:
    said = Case({"timing": timing}, {}).time_unit
    steps = pd.DataFrame([("pba", "refill", 1.0, 2)], columns=["strategy", "cause", "t_s", "splits"])
    levels = pd.DataFrame([("pba", 1.0, 10.0, 512.0, 502.0, 3.0)],
                          columns=["strategy", "t_s", "ptp_live", "pool_held", "pool_idle", "reserve_low"])  # fmt: skip
    for figure in (
        splits.draw(steps, 9.0, said),
        pool.draw_pool(levels, 9.0, said),
        pool.draw_reserve(levels, 9.0, {}, said),
    ):
        assert figure.get_supxlabel() == f"{unit} from the start of the recording"


def test_shares_by_every_weighting_stand_beside_each_published_figure() -> None:
    shares = pd.DataFrame([("pba", 0.002, 0.03, 0.0), ("pte-mapped", 1.0, None, 1.0)],
                          columns=["strategy", "pte_share_mean", "pte_share_kernel_end", "pte_share_activity"])  # fmt: skip
    published = pd.DataFrame([("aarch64", "time", "a", 2.7), ("aarch64", "time", "b", 4.9), ("x86_64", "time", "c", -1.0)],
                             columns=["arch", "metric", "benchmark", "gain_pct"])  # fmt: skip
    left, right = mapping_cost.draw(shares, published, "unmeasured").axes
    marks = {
        (x, y) for line in left.lines if line.get_marker() != "None" for x, y in zip(*line.get_data(), strict=True)
    }
    assert marks == {(0.002, 0), (0.03, 0), (1e-4, 0), (1.0, 1)}  # nothing stands at the left end, not measured nowhere
    assert [text.get_text() for text in right.get_yticklabels()] == ["time\n(aarch64)", "time\n(x86_64)"]
    assert right.get_xlim()[0] == -1.0 and left.get_xlim()[0] < 1e-4


def test_leaves_are_counted_whole() -> None:
    rows = [("pba", "refill", 1.0, 1)]
    steps = pd.DataFrame(rows, columns=["strategy", "cause", "t_s", "splits"])
    (axis,) = splits.draw(steps, 9.0, "seconds").axes
    assert all(float(tick).is_integer() for tick in axis.get_yticks())


def test_what_cannot_be_told_apart_is_drawn_once() -> None:
    nan = float("nan")
    series = {"a": [1.0, 2, nan], "b": [1.0, 2.4, nan], "c": [1.0, 2, 3], "d": [1.0, 2.6, nan], "e": [1.0]}
    assert alike(series, 0.5) == {"a": ["a", "b"], "c": ["c"], "d": ["d"], "e": ["e"]}
    assert alike(series, 0.3, np.mean) == {"a": ["a", "b", "d"], "c": ["c"], "e": ["e"]}


def test_labels_of_several_lines_get_their_room() -> None:
    low, tall, high = spread([5, 5, 5], [1, 3, 1], 0, 10)
    assert min(tall - low, high - tall) > 1.99


def test_nobody_on_the_front_is_beaten_on_both() -> None:
    points = pd.DataFrame(
        [("a", 1.0, 9.0), ("b", 2.0, 5.0), ("b2", 2.0, 5.0), ("c", 3.0, 5.0), ("d", 4.0, 1.0), ("e", 5.0, 6.0)],
        columns=["strategy", "share", "idle"],
    )
    assert trade_offs.front(points, "share", "idle") == ["a", "b", "b2", "d"]


def test_a_row_of_the_strip_grows_with_what_is_split() -> None:
    few, many = np.arange(40), np.arange(0, 4000)
    assert strip.cell_pages(few, 512) == 512
    assert len(np.unique(many * 512 // strip.cell_pages(many, 512))) == 32


def test_a_strip_keeps_its_state_until_it_changes() -> None:
    rows = [("pba", 7, 0, 512, 0), ("pba", 7, 60, 512, 512), ("pba", 9, 0, 512, 128)]
    drawn = strip.strips(pd.DataFrame(rows, columns=["strategy", "cell", "step", "pages", "pages_4k"]))
    assert drawn.cells == [7, 9]
    shares = drawn.shares["pba"]
    assert (shares[0, :60] == 0).all()
    assert (shares[0, 60:] == 100).all()
    assert (shares[1] == 25).all()


def test_a_dip_is_a_step_below_the_reserve() -> None:
    levels = pd.DataFrame({"reserve_low": [5.0, 2.0, 1.0, 0.0]})
    assert pool.dips(levels, 2) == "reserve 2 (dashed), below it in 2 of 4 steps"
    assert pool.dips(levels, None) == "nothing kept back, empty in 1 of 4 steps"


def test_shares_alike_on_average_are_one_curve() -> None:
    rows = [
        (name, t, share) for name, end in (("a", 0.5), ("b", 0.5), ("c", 0.4)) for t, share in ((0.0, 0.1), (4.0, end))
    ]
    assert coverage.groups(pd.DataFrame(rows, columns=["strategy", "t_s", "share_4k"])) == {"a": ["a", "b"], "c": ["c"]}
