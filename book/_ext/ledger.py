"""The equation ledger: where each numbered equation is derived, implemented and checked."""

import re
from collections.abc import Callable
from itertools import groupby

from claims import LABEL, PRINTED, implementations, marked, number_of, problems
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

PAGE = "book/reference/ledger"
logger = logging.getLogger(__name__)


def printed_numbers(env: BuildEnvironment) -> dict[str, str]:
    """Map each ledger label of the book, in reading order, to the number Sphinx gives it."""
    printed = {}
    for label, (docname, _) in env.get_domain("math").equations.items():
        if LABEL.fullmatch(label):
            numbers = env.toc_fignumbers.get(docname, {}).get("displaymath", {})
            printed[label] = ".".join(map(str, numbers.get(f"equation-{label}", ())))

    def order(label: str) -> list[tuple[int, str]]:
        parts = number_of(label).split(".")
        return [(int(part), "") if part.isdigit() else (10**6, part) for part in parts]

    return {label: printed[label] for label in sorted(printed, key=order)}


def check(app: Sphinx, env: BuildEnvironment) -> None:
    for problem in problems(printed_numbers(env), marked("equation")):
        logger.warning("ledger: %s", problem, type="ledger")


class LedgerTable(nodes.General, nodes.Element):
    """Holds the place of the table until every page is numbered."""


class EquationLedger(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the table depends on every other page
        return [LedgerTable()]


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    env = app.env

    def link(target: str, anchor: str, text: nodes.Node) -> nodes.Node:
        return make_refnode(app.builder, docname, target, anchor, text)

    for place in list(doctree.findall(LedgerTable)):
        place.replace_self(table(env, link))


def table(env: BuildEnvironment, link: Callable[[str, str, nodes.Node], nodes.Node]) -> nodes.table:
    equations = env.get_domain("math").equations
    documented = env.get_domain("py").objects
    implementing, claims = implementations(), marked("equation")

    def entry(*lines: nodes.Node) -> nodes.entry:
        cell = [nodes.inline("", "", line, classes=["ledger-line"]) for line in lines]
        return nodes.entry("", nodes.paragraph("", "", *cell))

    def page(docname: str) -> nodes.Node:
        title = env.titles[docname]
        number = ".".join(map(str, title.get("secnumber") or ()))
        return link(docname, "", nodes.Text(f"{number} {title.astext()}"))

    def implementation(name: str) -> nodes.Node:
        text = nodes.literal("", name.removeprefix("lecture_pkg."))
        at = documented.get(name)
        return link(at.docname, at.node_id, text) if at else text

    def checks(tests: list[str]) -> list[nodes.Node]:
        lines: list[nodes.Node] = []
        for path, names in groupby(tests, key=lambda test: test.split("::")[0]):
            lines.append(nodes.literal("", path.removeprefix("tests/")))
            sentences = (name.split("::")[-1].removeprefix("test_") for name in names)
            lines += [nodes.Text(sentence.replace("_", " ")) for sentence in sentences]
        return lines

    body = nodes.tbody()
    for label in printed_numbers(env):
        number, docname = number_of(label), equations[label][0]
        body += nodes.row(
            "",
            entry(link(docname, f"equation-{label}", nodes.Text(f"({number})"))),
            entry(page(docname)),
            entry(*map(implementation, implementing.get(number, []))),
            entry(*checks(claims.get(number, []))),
            ids=[f"ledger-{label}"],
        )
    head = nodes.row("", *(entry(nodes.Text(name)) for name in ("式", "導出", "実装", "検査")))
    widths = [nodes.colspec(colwidth=width) for width in (8, 22, 28, 42)]
    group = nodes.tgroup("", *widths, nodes.thead("", head), body, cols=4)
    return nodes.table("", group, classes=["ledger", "colwidths-given"])


def link_equations(app: Sphinx, pagename: str, template: str, context: dict, _: object) -> None:
    """Give each ledger equation of a page a small link to its row."""
    if "body" not in context or PAGE not in app.env.all_docs:
        return
    page = app.builder.get_relative_uri(pagename, PAGE)

    def add(match: re.Match[str]) -> str:
        if not LABEL.fullmatch(match["label"]):
            return match[0]
        return (
            f'{match[0]}<a class="ledger-link" href="{page}#ledger-{match["label"]}" '
            f'aria-label="式 ({match["number"]}) の台帳">台帳</a>'
        )

    context["body"] = PRINTED.sub(add, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(LedgerTable)
    app.add_directive("equation-ledger", EquationLedger)
    app.connect("env-check-consistency", check)
    app.connect("doctree-resolved", fill)
    app.connect("html-page-context", link_equations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
