"""The Jinja2 environment, with the filters that templates may use."""

import re
import shlex
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from ptpool.text import printable
from reports.formats import percent


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=lambda name: not str(name).endswith(".txt.j2"),
        finalize=_without_html,
    )
    environment.filters["dashed"] = file_stem
    environment.filters["link"] = quote
    environment.filters["shell"] = shlex.quote
    environment.filters["text"] = lambda text: re.sub(r"([\\`*_\[\]>|])", r"\\\1", str(text))
    environment.filters["share"] = percent
    environment.filters["plain"] = lambda text: (
        str(text).replace("`", "").replace("*", "").replace("[", "(").replace("]", ")")
    )
    return environment


@pass_eval_context
def _without_html(context: EvalContext, value: Any) -> Any:
    """What a template prints, without HTML and control characters: texts come from recordings of other people.

    Macros and other templates have been here before.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = printable(value)
    return Markup(text.replace("<", "&lt;")) if context.autoescape else text


def file_stem(name: str) -> str:
    """Name of a question as the stem of its CSV and SQL files."""
    return name.replace("_", "-")


def render(name: str, **values: Any) -> str:
    """Fill a template; several blank lines become one."""
    lines: list[str] = []
    for line in _environment().get_template(name).render(**values).splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    while lines and not lines[-1]:
        lines.pop()
    return Markup("\n".join(lines) + "\n")
