"""Pages as HTML that opens from disk in any browser: each Markdown page rendered, with its style sheet inside."""

import re
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from reports.page import anchor

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""
"""A page. Its policy forbids scripts and every request but for the figures beside it, whatever the text holds."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def html_pages(written: Mapping[str, bytes]) -> dict[str, bytes]:
    """Render every Markdown page among files.

    Args:
        written: contents by file name; of those, names that end in ``.md`` are rendered.

    Returns:
        Contents by file name: ``page.html`` for ``page.md``, ``index.html`` for ``README.md``.
    """
    return {address(name): page(text.decode()).encode() for name, text in written.items() if name.endswith(".md")}


def address(link: str) -> str:
    """The HTML page of a Markdown page, its ``#heading`` kept; links to other files and other sites stay.

    Args:
        link: relative, or with a scheme.
    """
    path, mark, fragment = link.partition("#")
    if _ELSEWHERE.match(path):
        return link
    path = re.sub(r"(?:(?<=/)|^)README\.md$", "index.html", path)
    return re.sub(r"\.md$", ".html", path) + mark + fragment


def page(text: str) -> str:
    """A Markdown page as an HTML page, without what it links to.

    Args:
        text: CommonMark with tables. HTML in it is shown as text, but for foldouts (``<details>``) and a comment on
            the first line, which is left out.
    """
    markdown = _markdown()
    tokens = markdown.parse(re.sub(r"\A<!--.*?-->\n", "", text))
    title, seen = "", Counter[str]()
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(part.content for part in inside.children or () if part.type in ("text", "code_inline"))
            name = anchor(words)
            token.attrSet("id", f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
            title = title or words
    for part in (part for token in tokens for part in token.children or ()):
        if part.type == "link_open":
            part.attrSet("href", address(str(part.attrGet("href"))))
    body = markdown.renderer.render(tokens, markdown.options, {})
    style = files("reports").joinpath("ptpool.css").read_text(encoding="utf-8")
    return _PAGE.format(title=escapeHtml(title), style=style, body=body)


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable("table")
    for rule, function in (("html_block", _foldouts), ("html_inline", _foldouts), ("table_open", _wide)):
        markdown.add_render_rule(rule, function)
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    markdown.add_render_rule("image", _figure)
    return markdown


def _foldouts(_: RendererHTML, tokens: Sequence[Token], at: int, *__: Any) -> str:
    """HTML as text, but for the tags of a foldout, which have no attributes."""
    return re.sub(r"<(?!/?(?:details|summary)>)", "&lt;", tokens[at].content)


def _wide(*_: Any) -> str:
    """A table in a box of its own, which scrolls where the table is wider than the page."""
    return '<div class="wide"><table>\n'


def _figure(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    """An image in such a box, on a white plate: figures are drawn for white paper. One from elsewhere stays text."""
    image, source = tokens[at], str(tokens[at].attrGet("src"))
    if _ELSEWHERE.match(source):
        return escapeHtml(f"![{image.content}]({source})")
    return f'<span class="wide plate">{renderer.image(tokens, at, options, env)}</span>'
