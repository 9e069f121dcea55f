"""Every page in Chromium: nothing from elsewhere, no error, readable by all, on a phone too."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

pytestmark = [pytest.mark.site, pytest.mark.timeout(1800)]

THEMES = ("light", "dark")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
RUN_AXE = """async (exclude) => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];
  const options = {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"],
    preload: false};
  const {violations} = await axe.run({exclude}, options);
  return violations.flatMap(rule => rule.nodes.map(
    node => [rule.id, node.target.join(" "), node.failureSummary.slice(0, 300)]));
}"""
# Looking at every glyph and token takes minutes: formulas have the colour of the text around them,
# and code has the same few colours everywhere, so one page of it stands for all.
FORMULAS, CODE = "mjx-container", ".highlight pre"
PAGE_OF_CODE = "book/part1/02_boltzmann_machine/2_1_kl_divergence.html"
# Rule and part of the selector of what only the theme could mend, with the reason.
UNAVOIDABLE: list[tuple[str, str]] = []

OPEN_FOLDED = """() => {
  document.querySelectorAll("details").forEach(details => { details.open = true; });
  document.querySelectorAll("button.toggle-button-hidden").forEach(button => button.click());
}"""
READ_PAGE = r"""() => {
  const article = document.querySelector("article.bd-article") || document.body;
  const prose = article.cloneNode(true);
  prose.querySelectorAll("pre, code, dt, script, style, .math, mjx-container, nav").forEach(
    node => node.remove());
  const badTeX = "mjx-merror, mjx-container [style*='color: red'], mjx-container [mathcolor='red']";
  return {
    // Asterisks, dollars, roles; a heading's formula that a reference to it repeats as TeX.
    stray: prose.textContent.match(/.{0,20}(\*\*|\$|```|\{(eq|ref|term)\}|\\[a-z]{2}).{0,20}/gi),
    tex: [...document.querySelectorAll(badTeX)].map(node => node.textContent || node.outerHTML),
    unset: [...article.querySelectorAll("span.math, div.math")]
      .filter(node => !node.querySelector("mjx-container"))
      .map(node => node.textContent.slice(0, 60)),
    images: [...document.images]
      .filter(image => !image.alt.trim() || image.alt.includes("_images/")
        || (image.complete && image.src && !image.naturalWidth))
      .map(image => image.outerHTML.slice(0, 200)),
    headings: [...article.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(
      heading => [Number(heading.tagName[1]), heading.textContent]),
  };
}"""


@dataclass
class Visit:
    """What one page did and showed."""

    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    bytes: int = 0
    content: dict[str, Any] = field(default_factory=dict)
    width_on_phone: int = 0
    axe: dict[str, list[list[str]]] = field(default_factory=dict)


def visit(context: Any, origin: str, path: str) -> Visit:
    seen = Visit()
    page = context.new_page()
    page.set_viewport_size(DESK)

    def on_request(request: Any) -> None:
        if not request.url.startswith((origin, "data:", "blob:")):
            seen.foreign.append(request.url)

    def on_response(response: Any) -> None:
        if response.status >= 400:
            seen.errors.append(f"{response.status} {response.url}")
        if response.url.startswith(origin) and "/_static/" not in response.url:
            seen.bytes += int(response.headers.get("content-length", 0))

    page.on("request", on_request)
    page.on("response", on_response)
    page.on("pageerror", lambda error: seen.errors.append(f"script error: {error}"))
    page.on(
        "console", lambda m: seen.errors.append(f"console: {m.text}") if m.type == "error" else None
    )
    page.goto(f"{origin}/{path}", wait_until="load")
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    page.evaluate(OPEN_FOLDED)
    page.wait_for_timeout(400)  # the theme waits before it looks at boxes that scroll
    seen.content = page.evaluate(READ_PAGE)
    page.add_script_tag(content=AXE)
    page.add_style_tag(content="* { transition: none !important; }")
    exclude = [FORMULAS] if path == PAGE_OF_CODE else [FORMULAS, CODE]
    for theme in THEMES:
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        seen.axe[theme] = page.evaluate(RUN_AXE, exclude)
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(100)
    seen.width_on_phone = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    return seen


@pytest.fixture(scope="module")
def visits(site: Path, origin: str, browser: Any) -> Iterator[dict[str, Visit]]:
    context = browser.new_context(locale="ja-JP", reduced_motion="reduce")
    paths = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html"))
    paths = [path for path in paths if path != "index.html" and "_static" not in path]
    yield {path: visit(context, origin, path) for path in paths}
    context.close()


def expect_none(visits: dict[str, Visit], find: Callable[[Visit], list]) -> None:
    """Fail with one line for each fault that `find` returns, the page in front."""
    lines = [f"{path}: {fault}" for path, seen in visits.items() for fault in find(seen) or []]
    assert not lines, f"{len(lines)} faults\n" + "\n".join(lines[:60])


def test_the_whole_book_was_visited(visits):
    assert {"book/index.html", "book/reference/ledger.html", "search.html"} <= visits.keys()
    assert PAGE_OF_CODE in visits
    assert len(visits) > 15


def test_no_request_leaves_the_site(visits):
    expect_none(visits, lambda seen: seen.foreign)


def test_no_script_error_and_nothing_missing(visits):
    expect_none(visits, lambda seen: seen.errors)


def test_every_formula_is_set(visits):
    expect_none(visits, lambda seen: seen.content["tex"] + seen.content["unset"])


def test_no_markup_is_left_in_the_text(visits):
    expect_none(visits, lambda seen: seen.content["stray"])


def test_every_image_shows_and_has_alt_text(visits):
    expect_none(visits, lambda seen: seen.content["images"])


def test_headings_are_in_order(visits):
    def jumps(seen: Visit) -> list[str]:
        levels = [level for level, _ in seen.content["headings"]]
        wrong = [
            text
            for (level, text), before in zip(seen.content["headings"][1:], levels[:-1], strict=True)
            if level > before + 1
        ]
        return wrong if levels.count(1) == 1 and levels[0] == 1 else [f"levels {levels}", *wrong]

    expect_none(visits, jumps)


def test_no_page_scrolls_sideways_on_a_phone(visits):
    expect_none(visits, lambda seen: [seen.width_on_phone][: seen.width_on_phone > PHONE["width"]])


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_no_barrier(visits, theme):
    def barriers(seen: Visit) -> list[list[str]]:
        return [
            found
            for found in seen.axe[theme]
            if not any(found[0] == rule and part in found[1] for rule, part in UNAVOIDABLE)
        ]

    expect_none(visits, barriers)


def test_no_page_is_heavy(visits):
    """Three megabytes with its figures; what all pages share is loaded once."""
    expect_none(visits, lambda seen: [seen.bytes][: seen.bytes > 3_000_000])
