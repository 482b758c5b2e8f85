"""The report as HTML: what is rendered, where links go, and what a browser makes of it."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import COMMAND, Chromium

from ptpool.cli import run
from ptpool.text import markdown_table, plain_markdown
from reports.html import address, html_pages, page


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ("README.md", "index.html"),
        ("my%20phone/README.md", "my%20phone/index.html"),
        ("README.md#the-map", "index.html#the-map"),
        ("latency.md", "latency.html"),
        ("../server/latency.md#a", "../server/latency.html#a"),
        ("NOTREADME.md", "NOTREADME.html"),
        ("#a.md", "#a.md"),
        ("splits.csv", "splits.csv"),
        ("splits.sql", "splits.sql"),
        ("splits.svg", "splits.svg"),
        ("https://example.org/README.md", "https://example.org/README.md"),
        ("//example.org/README.md", "//example.org/README.md"),
    ],
)
def test_links_between_pages_lead_to_html_and_others_stay(link: str, there: str) -> None:
    assert address(link) == there
    assert f'<a href="{there}">x</a>' in page(f"[x]({link})\n")


def test_every_markdown_page_becomes_one_of_html_and_nothing_else_does() -> None:
    written = {"README.md": b"# a\n", "sub/README.md": b"# b\n", "latency.md": b"# c\n", "x.csv": b"1", "x.svg": b"2"}
    assert html_pages(written).keys() == {"index.html", "sub/index.html", "latency.html"}


def test_headings_have_the_anchors_of_forges() -> None:
    text = page("# One, `two` & three's\n\n## [my \\_phone\\_](p/README.md)\n\n### Twice\n\n### Twice\n\n### Twice\n")
    assert re.findall(r'<h\d id="([^"]*)">', text) == ["one-two--threes", "my-_phone_", "twice", "twice-1", "twice-2"]
    assert "<title>One, two &amp; three's</title>" in text


def test_foldouts_work_and_the_mark_is_left_out() -> None:
    text = page(
        "<!-- written by x -->\n# a\n\n<details><summary>SQL</summary>\n\n```sql\nSELECT 1 < 2\n```\n\n</details>\n"
    )
    assert "written by" not in text
    assert "<details><summary>SQL</summary>" in text
    assert '<code class="language-sql">SELECT 1 &lt; 2\n</code>' in text
    assert "</details>" in text


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<details onclick=alert(1)>",
    "\"><svg onload='alert(1)'>",
    "<!-- a --><b>",
    "<details/onclick=alert(1)>",
]


@pytest.mark.parametrize("evil", HOSTILE)
def test_html_that_came_through_is_shown_as_text(evil: str) -> None:
    """The templates escape names; should one slip through, the page still has no tag of it."""
    for text in (evil, f"a {evil} b", f"# {evil}", f"- {evil}", f"| a |\n| --- |\n| {evil} |", f"```\n{evil}\n```"):
        body = page(text + "\n").split("<main>")[1].split("</main>")[0]
        tags = set(re.findall(r"<([^\s/>]+[^>]*)>", body))
        assert all(
            re.match(r"(p|h1|ul|li|table|thead|tbody|tr|th|td|pre|code)$|h1 id=|div class=", tag) for tag in tags
        ), tags
        assert "alert(1)" in body or "a" in body


def test_links_to_scripts_are_none() -> None:
    assert "href" not in page("[x](javascript:alert(1)) [y](data:text/html,a) [z](vbscript:a)\n")


@pytest.mark.parametrize("there", ["http://example.org/a.png", "//example.org/a.png", "ftp://example.org/a"])
def test_an_image_from_elsewhere_is_text(there: str) -> None:
    assert f"<p>x ![a]({there})</p>" in page(f"x ![a]({there})\n")


def test_a_name_in_a_table_shows_as_it_is() -> None:
    name = "<script>|\"a\"|'b'_c_*d*`e`[f](g)&lt;\\</script>"
    text = page(markdown_table(["name"], [[plain_markdown(name)]]) + "\n")
    assert "<td>&lt;script&gt;|&quot;a&quot;|'b'_c_*d*`e`[f](g)&amp;lt;\\&lt;/script&gt;</td>" in text
    assert '<div class="wide"><table>' in text


@pytest.mark.slow
def test_pages_are_small_and_every_link_in_them_resolves(report: Path) -> None:
    pages = sorted(report.rglob("*.html"))
    assert len(pages) == len(list(report.rglob("*.md")))
    for path in pages:
        assert path.stat().st_size < 300_000
        assert missing(path, re.findall(r'(?:href|src)="([^"]+)"', path.read_text())) == []


def missing(page: Path, links: list[str]) -> list[str]:
    """Links that lead nowhere, relative or from a browser; those to other sites are not followed."""
    lost = []
    for link in links:
        parts = urlsplit(link)
        target = page.parent / unquote(parts.path) if parts.path else page
        if parts.scheme in ("http", "https"):
            continue
        if not target.is_file() or (parts.fragment and f' id="{unquote(parts.fragment)}"' not in target.read_text()):
            lost.append(link)
    return lost


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


needs_chromium = pytest.mark.skipif(COMMAND is None, reason="chromium is not installed (Debian: apt install chromium)")


def wrong(browser: Chromium, path: Path, width: int, scheme: str) -> list[str]:
    """What is wrong with a page, loaded from disk into a window that is `width` pixels wide."""
    browser.open(path, width, scheme)
    images = browser.value("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
    links = missing(path, browser.value("[...document.links].map(link => link.href)"))
    content, window = browser.value("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    ink, paper, *plates = browser.value(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,"
        " ...[...document.querySelectorAll('.plate')].map(plate => getComputedStyle(plate).backgroundColor)]"
        ".map(colour => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0) / 765)"
    )
    legible = ink < 0.2 and paper > 0.9 if scheme == "light" else ink > 0.8 and paper < 0.2
    return [
        *(f"no image {image}" for image in images),
        *(f"no target {link}" for link in links),
        *([f"{content} pixels wide"] if content > window or window != width else []),
        *([] if legible else [f"ink {ink} on paper {paper}"]),
        *(f"plate {plate}" for plate in plates if plate < 1),
        *(f"console: {words}" for words in browser.said()),
    ]


@pytest.mark.browser
@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_in_a_browser(browser: Chromium, report: Path, width: int, scheme: str) -> None:
    """Set PTPOOL_REPORT to a folder to look at another report than that of the tests."""
    pages = sorted(Path(os.environ.get("PTPOOL_REPORT", report)).rglob("*.html"))
    assert pages
    assert [(path, finding) for path in pages for finding in wrong(browser, path, width, scheme)] == []


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("<img src=none.svg>", "no image"),
        ("<a href=none.html>a</a>", "no target"),
        ("<a href=#none>a</a>", "no target"),
        ("<img src=http://example.org/a.png>", "console"),
        ("<div style=width:50rem>a</div>", "pixels wide"),
        ("<div class=plate style=background:grey>a</div>", "plate"),
        ("<style>body { color: white }</style>", "ink"),
        ("<script>1</script>", "console"),
    ],
)
def test_the_browser_tells_what_is_wrong(browser: Chromium, tmp_path: Path, body: str, why: str) -> None:
    """Else the test above could pass because nothing is looked at."""
    (tmp_path / "bad.html").write_text(page("# a\n").replace("<main>", f"<main>{body}"))
    assert any(why in finding for finding in wrong(browser, tmp_path / "bad.html", 390, "light"))


@pytest.mark.browser
@pytest.mark.slow
@needs_chromium
@pytest.mark.usefixtures("undrawn")
def test_names_from_a_recording_are_text_in_a_browser(
    browser: Chromium, saying: Callable[[str], Path], tmp_path: Path
) -> None:
    db, out = saying("<script>alert(1)</script>\"'|`x`\x1b[2J![a](http://example.org/a.png)"), tmp_path / "out"
    assert run(["report", "build", "--db", str(db), "--out", str(out), "--quiet"]) == 0
    shown = set()
    for path in sorted(out.rglob("*.html")):
        browser.open(path, 390, "light")
        assert browser.value("document.scripts.length") == 0
        if "alert(1)</script>" in browser.value("document.body.textContent"):
            shown.add(path)
        assert "\x1b" not in path.read_text()
        assert browser.value("[...document.images].filter(image => !image.src.startsWith('file:')).length") == 0
        assert not any("example.org" in words for words in browser.said())
    assert {*out.rglob("index.html"), *out.rglob("trust.html")} <= shown
