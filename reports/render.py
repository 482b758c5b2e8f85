"""The Jinja2 environment, with the filters that templates may use."""

import re
import shlex
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["dashed"] = file_stem
    environment.filters["link"] = quote
    environment.filters["shell"] = shlex.quote
    environment.filters["text"] = lambda text: re.sub(r"([\\`*_\[\]<>|])", r"\\\1", str(text))
    environment.filters["plain"] = lambda text: (
        str(text).replace("`", "").replace("*", "").replace("[", "(").replace("]", ")")
    )
    return environment


def file_stem(name: str) -> str:
    """Name of a question as the stem of its CSV file."""
    return name.replace("_", "-")


def render(name: str, **values: Any) -> str:
    """Fill a template; several blank lines become one."""
    lines: list[str] = []
    for line in _environment().get_template(name).render(**values).splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    while lines and not lines[-1]:
        lines.pop()
    return "\n".join(lines) + "\n"
