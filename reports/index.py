"""The index: strategies against the questions that were asked, five short answers, and the recordings."""

from urllib.parse import unquote

import duckdb

from reports import ranking
from reports.answers import replies
from reports.case import load_case
from reports.contents import INDEX
from reports.page import Files, page_name
from reports.questions import Answers
from reports.summary import machine, recorded


def index_page(connection: duckdb.DuckDBPyConnection, built: set[str]) -> dict[str, bytes]:
    """Write the index and the pages that all captures share.

    Args:
        connection: an open warehouse with at least one run at default parameters.
        built: captures whose page exists.

    Returns:
        Contents by file name.
    """
    answers = Answers(connection)
    files = Files(answers)
    for section in INDEX:
        files.page(section)
    strategies = answers["strategies"]
    files.keep(strategies)
    rows = strategies.records()
    cases = [load_case(connection, name) for (name,) in answers["replayed"].rows]
    files.front(
        "index.md.j2",
        strategies=ranking.markdown(rows, ranking.INDEX),
        legend=ranking.LEGEND,
        place=next(iter(rows), None),
        replies=[reply._replace(page=_if_built(reply.page, built)) for reply in replies(answers)],
        captures=[
            {
                "name": case.capture["name"],
                "machine": machine(case),
                "recorded": recorded(case),
                "built": case.capture["name"] in built,
            }
            for case in cases
        ],
        pages=[(section.title, page_name(section)) for section in INDEX],
    )
    return dict(files)


def _if_built(page: str, built: set[str]) -> str:
    """The page, unless it belongs to a capture that has none."""
    folder, slash, _ = page.rpartition("/")
    return page if not slash or unquote(folder) in built else ""
