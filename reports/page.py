"""The page of one capture: its Markdown, its figures and its CSV files, as bytes by file name."""

import re

import duckdb

from reports.case import Case, load_case
from reports.contents import CONTENTS
from reports.formats import count, duration, size
from reports.questions import Answer
from reports.render import file_stem, render
from reports.style import house_style
from reports.tables import Table, table


def machine(case: Case) -> str:
    """The recorded machine, in one line."""
    capture = case.capture
    parts = [
        f"Linux {capture['kernel_release']}" if capture["kernel_release"] else "kernel not recorded",
        capture["arch"] or "architecture not recorded",
        size(capture["total_pages"] * capture["page_size"]) if capture["total_pages"] else "memory size not recorded",
        count(capture["cpus"], "CPU"),
    ]
    return ", ".join(parts)


def recorded(case: Case) -> str:
    """What was recorded, in one sentence."""
    capture = case.capture
    clock = " of emulated time" if capture["timing"] == "emulated" else ""
    clock += ", part of the recording" if capture["in_part"] else ""
    stacks = "with" if capture["has_stacks"] else "without"
    return f"{count(capture['events'], 'event')} in {_span(capture['seconds'])}{clock}, {stacks} kernel stacks."


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else duration(seconds * 1e9)


def anchor(heading: str) -> str:
    """The link to a heading, as forges make it: lower case, dashes for blanks, no punctuation."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def capture_page(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, bytes]:
    """Write the page of a capture.

    Args:
        connection: an open warehouse.
        name: a capture with at least one run at default parameters.

    Returns:
        Contents by file name: ``README.md``, the figures, and the CSV behind every table and figure.
    """
    case = load_case(connection, name)
    answers: dict[str, Answer] = {}
    images: dict[str, bytes] = {}

    def shown(question: str) -> Table:
        answers[file_stem(question)] = case.answers[question]
        return table(case.answers[question], case)

    sections = []
    for section in CONTENTS:
        with house_style(case.looks):
            figures = section.figures(connection, case)
        for figure in figures:
            images |= {f"{figure.name}.{suffix}": image for suffix, image in figure.images.items()}
            if figure.answer:
                answers[figure.data] = figure.answer
        template = f"sections/{section.name}.md.j2"
        sections.append(render(template, capture=case.capture, table=shown, figures=figures, **section.values(case)))
    text = render(
        "capture.md.j2",
        capture=case.capture,
        machine=machine(case),
        recorded=recorded(case),
        sections=sections,
        headings=[(heading, anchor(heading)) for heading in re.findall(r"^## (.+)$", "\n".join(sections), re.M)],
    )
    tables = {f"{stem}.csv": answer.csv().encode() for stem, answer in answers.items()}
    return {"README.md": text.encode(), **tables, **images}
