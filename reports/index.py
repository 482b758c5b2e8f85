"""The index over captures: what each found, and a heat map of strategies by captures."""

import duckdb

from reports.case import load_case
from reports.figures import overview
from reports.page import machine, recorded
from reports.questions import Answer, ask
from reports.render import file_stem, render
from reports.section import Drawn
from reports.sections.answer import answer
from reports.style import house_style, written
from reports.tables import frame, table


def index_page(connection: duckdb.DuckDBPyConnection, built: set[str]) -> dict[str, bytes]:
    """Write the index.

    Args:
        connection: an open warehouse with at least one default policy run.
        built: captures whose page is there.

    Returns:
        Contents by file name.
    """
    headline = ask(connection, "index")
    cases = [load_case(connection, name) for name in dict.fromkeys(row["capture"] for row in headline.records())]
    entries = [
        {
            "name": case.capture["name"],
            "machine": machine(case),
            "recorded": recorded(case),
            "answer": answer(case),
            "built": case.capture["name"] in built,
        }
        for case in cases
    ]
    count = len({row["strategy"] for row in headline.records()})
    picture = _overview(ask(connection, "overview"))
    text = render(
        "index.md.j2",
        entries=entries,
        figure=picture,
        table=lambda _: table(headline, *cases),
        strategies=f"{count} {'strategy' if count == 1 else 'strategies'}",
    )
    files = {"README.md": text.encode(), f"{file_stem('index')}.csv": headline.csv().encode()}
    files |= {f"overview.{suffix}": image for suffix, image in picture.images.items()}
    return files | ({"overview.csv": picture.answer.csv().encode()} if picture.answer else {})


def _overview(answer: Answer) -> Drawn:
    rows = frame(answer)
    if rows.empty:
        return Drawn("No strategy but the bound was replayed: there is no overview.")
    with house_style({}):
        images = written(
            overview.draw(rows.astype(dict.fromkeys([column for column, *_ in overview.COSTS], "float64")))
        )
    same = [
        words
        for column, words, _ in overview.COSTS
        if all(part[column].nunique() <= 1 for _, part in rows.groupby("capture"))
    ]
    caption = "Every strategy on every capture; darker is more within a capture, and an empty cell does not apply."
    caption += f" No capture tells the strategies apart by {', '.join(same)}." if same else ""
    return Drawn(caption, "overview", answer, "overview", images)
