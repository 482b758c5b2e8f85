"""The page of one capture: its Markdown, its figures and its CSV files, as bytes by file name."""

import duckdb

from reports import cost, findings
from reports.agreement import agreement
from reports.case import TABLES, Case, load_case
from reports.draw import figures
from reports.formats import count, duration, size
from reports.render import file_stem, render
from reports.tables import table
from reports.verdict import verdict

_MOSAIC_KEY = (
    "One cell per 2M of physical memory (more on large machines: the legend says how much), row by row from address 0; "
    "its shade is the smallest leaf in it, an orange bar means that part of it is keyed, a red square all of it, and a "
    "black frame at the end that it changed since the start. White is no memory."
)


def machine(case: Case) -> str:
    """The recorded machine in a line."""
    capture = case.capture
    parts = [
        f"Linux {capture['kernel_release']}" if capture["kernel_release"] else "kernel not recorded",
        capture["arch"] or "architecture not recorded",
        size(capture["total_pages"] * capture["page_size"]) if capture["total_pages"] else "memory size not recorded",
        count(capture["cpus"], "CPU"),
    ]
    return ", ".join(parts)


def recorded(case: Case) -> str:
    """What was recorded, in a sentence."""
    capture = case.capture
    clock = " of emulated time" if capture["timing"] == "emulated" else ""
    clock += ", a part of the recording" if capture["in_part"] else ""
    stacks = "with" if capture["has_stacks"] else "without"
    return f"{count(capture['events'], 'event')} in {_span(capture['seconds'])}{clock}, {stacks} kernel stacks."


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else duration(seconds * 1e9)


def answer(case: Case) -> list[str]:
    """The answer in a few sentences: what was asked for, what differs, what may be concluded, what ran out."""
    return [findings.demand(case), findings.contrast(case), verdict(case), findings.shortfall(case)]


def capture_page(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, bytes]:
    """Write the page of a capture.

    Args:
        connection: an open warehouse.
        name: a capture with at least one default policy run.

    Returns:
        Contents by file name: ``README.md``, the figures, and the CSV behind every table and figure.
    """
    case = load_case(connection, name)
    drawn = figures(connection, case)
    tables = {question: table(case.answers[question], case) for question in TABLES}
    text = render(
        "capture.md.j2",
        capture=case.capture,
        machine=machine(case),
        recorded=recorded(case),
        answer=answer(case),
        timing=cost.timing(case),
        quality=cost.quality(case),
        basis=cost.basis(case),
        unmeasured=cost.UNMEASURED,
        agreement=agreement(case),
        differences=findings.differences(case),
        baseline="unprotected" in case.metrics,
        mosaic_key=_MOSAIC_KEY if any(figure.name for figure in drawn["mosaic"]) else "",
        figures=drawn,
        tables=tables,
    )
    files = {"README.md": text.encode()}
    files |= {f"{file_stem(question)}.csv": case.answers[question].csv().encode() for question in TABLES}
    for figure in (figure for section in drawn.values() for figure in section if figure.answer):
        files |= {f"{figure.name}.{suffix}": image for suffix, image in figure.images.items()}
        if figure.answer:
            files[f"{figure.data}.csv"] = figure.answer.csv().encode()
    return files
