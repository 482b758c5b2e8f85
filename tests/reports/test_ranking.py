"""The table of strategies: what is marked, what failed, what is not known."""

from reports import ranking
from reports.ranking import Column, markdown, marks, text_cells

COLUMN = Column("Splits", "modelled", lambda row: str(row["n"]), lambda row: row["n"])


def rows(*numbers: float | None, failures: int = 0) -> list[ranking.Row]:
    kinds = ["baseline", *["pool"] * (len(numbers) - 1)]
    return [
        {"strategy": f"s{i}", "family": kind, "n": n, "failures": failures * (i == 1)}
        for i, (kind, n) in enumerate(zip(kinds, numbers, strict=True))
    ]


def test_the_lowest_and_the_highest_are_marked_but_not_todays_kernel() -> None:
    assert marks(rows(0, 1, 2, 3, 1), COLUMN) == ["", "best", "", "worst", "best"]


def test_what_more_than_half_share_marks_nobody() -> None:
    assert marks(rows(0, 1, 1, 1, 9), COLUMN) == ["", "", "", "", "worst"]
    assert marks(rows(0, 5, 5), COLUMN) == ["", "", ""]


def test_two_digits_decide() -> None:
    assert marks(rows(0, 100.1, 100.2, 300, 400), COLUMN) == ["", "best", "best", "", "worst"]


def test_what_failed_is_not_the_best_and_what_is_unknown_is_not_marked() -> None:
    assert marks(rows(0, 1, 2, 3, None, failures=7), COLUMN) == ["", "", "best", "worst", ""]


def test_marks_are_words_and_bold_and_names_are_escaped() -> None:
    table = rows(0, 1, 2, 3)
    table[1]["strategy"] = "<b>|x_y"
    text = markdown(table, [COLUMN])
    assert "| Strategy | Splits ○ |" in text
    assert "| &lt;b>\\|x\\_y | **✓ 1** |" in text and "✗ 3" in text
    assert text_cells(table, [COLUMN])[1:] == [["<b>|x_y", "*1"], ["s2", "2"], ["s3", "!3"]]


def test_tables_that_stay_open_weigh_more_than_those_open_for_a_moment() -> None:
    names = ("unkeyed_page_seconds", "unkeyed_split_tables", "unkeyed_incidents")
    row = {"family": "pool", **dict.fromkeys(names, 0)}
    assert ranking.unprotected(row) == "none"
    assert ranking.unprotected(row | {"unkeyed_incidents": 7, "unkeyed_split_tables": 2}) == "2 split tables, 7 briefly"
    assert ranking.exposure(row | {"unkeyed_split_tables": 1}) > ranking.exposure(row | {"unkeyed_incidents": 99})
