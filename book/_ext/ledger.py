"""The equation ledger: where each numbered equation is derived, implemented and checked."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).resolve().parents[2]
LEDGER = "book/reference/ledger"
LABEL = re.compile(r"eq-(\w+)-(\d+)")
# Equation (2.1) | Equations (2.1), (2.2) and (2.5) | Equations (2.27)-(2.30)
MENTION = re.compile(r"Equations?\s+(\(\w+\.\d+\)(?:(?:\s*(?:,|and|,\s*and|-|\N{EN DASH})\s*)\(\w+\.\d+\))*)")
# As Sphinx prints it beside an equation: the number, and the anchor that holds the label.
PRINTED = re.compile(
    r'<span class="eqno">\((?P<number>[^)]+)\)'
    r'(?P<anchor><a class="headerlink" href="#equation-(?P<label>[^"]+)"[^>]*>[^<]*</a>)</span>'
)
logger = logging.getLogger(__name__)


def number_of(label: str) -> str:
    """eq-2-24 → 2.24."""
    return ".".join(LABEL.fullmatch(label).groups())


def order(number: str) -> tuple[int, str, int]:
    chapter, _, item = number.partition(".")
    return (int(chapter) if chapter.isdigit() else 99, chapter, int(item))


def mentioned(text: str) -> list[str]:
    """Return the numbers a docstring names, ranges written out."""
    numbers = []
    for mention in MENTION.finditer(text):
        for first, last in re.findall(
            r"\((\w+\.\d+)\)(?:\s*[-\N{EN DASH}]\s*\((\w+\.\d+)\))?", mention[1]
        ):
            chapter, start = first.split(".")
            stop = (last or first).split(".")[1]
            numbers += [f"{chapter}.{item}" for item in range(int(start), int(stop) + 1)]
    return numbers


def implementations(root: Path = ROOT) -> dict[str, list[str]]:
    """Map an equation to the dotted names in lecture_pkg whose docstring names it."""
    found = defaultdict(list)

    def visit(node: ast.AST, name: str) -> None:
        for number in mentioned(ast.get_docstring(node) or ""):
            if name not in found[number]:
                found[number].append(name)
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                visit(child, f"{name}.{child.name}")

    for path in sorted((root / "lecture_pkg").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        visit(ast.parse(path.read_text("utf-8")), ".".join(parts).removesuffix(".__init__"))
    return found


def marked(marker: str, root: Path = ROOT) -> dict[str, list[str]]:
    """Map each argument of @pytest.mark.<marker>(...) to the tests that carry it."""
    found = defaultdict(list)

    def arguments(decorators: list[ast.expr]) -> list[str]:
        return [
            argument.value
            for call in decorators
            if isinstance(call, ast.Call) and ast.unparse(call.func) == f"pytest.mark.{marker}"
            for argument in call.args
            if isinstance(argument, ast.Constant)
        ]

    def visit(node: ast.AST, name: str, inherited: list[str]) -> None:
        for child in node.body:
            if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "pytestmark":
                marks = child.value.elts if isinstance(child.value, ast.List) else [child.value]
                inherited = inherited + arguments(marks)
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef):
                continue
            here = inherited + arguments(child.decorator_list)
            if isinstance(child, ast.ClassDef):
                visit(child, f"{name}::{child.name}", here)
            elif child.name.startswith("test_"):
                for key in dict.fromkeys(here):
                    found[key].append(f"{name}::{child.name}")

    for path in sorted((root / "tests").rglob("test_*.py")):
        visit(ast.parse(path.read_text("utf-8")), path.relative_to(root).as_posix(), [])
    return found


def problems(printed: dict[str, str], claims: dict[str, list[str]]) -> list[str]:
    """Return what is wrong between labels with their printed numbers and the tests' claims."""
    numbers = {number_of(label) for label in printed}
    found = [
        f"equation {label} is printed as ({number})"
        for label, number in printed.items()
        if number != number_of(label)
    ]
    found += [f"no test claims equation ({number})" for number in numbers - claims.keys()]
    found += [
        f"{test} claims equation ({number}), which does not exist"
        for number in claims.keys() - numbers
        for test in claims[number]
    ]
    return sorted(found)


def printed_numbers(env) -> dict[str, str]:
    """Map each ledger label of the book to the number that Sphinx gives it."""
    printed = {}
    for label, (docname, _) in env.get_domain("math").equations.items():
        if LABEL.fullmatch(label):
            numbers = env.toc_fignumbers.get(docname, {}).get("displaymath", {})
            printed[label] = ".".join(map(str, numbers.get(f"equation-{label}", ("?",))))
    return printed


def check(app: Sphinx, env) -> None:
    for problem in problems(printed_numbers(env), marked("equation")):
        logger.warning("ledger: %s", problem, type="ledger")


class LedgerTable(nodes.General, nodes.Element):
    """Where the table will stand once every page is numbered."""


class EquationLedger(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        return [LedgerTable()]


def row(*cells: list[nodes.Node], **attributes: list[str]) -> nodes.row:
    entries = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
    return nodes.row("", *entries, **attributes)


def lines(items: list[nodes.Node]) -> list[nodes.Node]:
    """Put one item on each line of a cell."""
    return [nodes.inline("", "", item, classes=["ledger-line"]) for item in items]


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    env, builder = app.env, app.builder
    for placeholder in list(doctree.findall(LedgerTable)):
        equations = env.get_domain("math").equations
        implementing, claims = implementations(), marked("equation")
        objects = env.get_domain("py").objects

        def api_link(name: str) -> nodes.Node:
            short = nodes.literal("", name.removeprefix("lecture_pkg."))
            entry = objects.get(name)
            if entry is None:
                return short
            return make_refnode(builder, docname, entry.docname, entry.node_id, short, name)

        def page_link(target: str) -> nodes.Node:
            title = env.titles[target]
            number = ".".join(map(str, title.get("secnumber") or ()))
            text = nodes.Text(f"{number} {title.astext()}".strip())
            return make_refnode(builder, docname, target, "", text)

        body = nodes.tbody()
        for label in sorted(printed_numbers(env), key=lambda label: order(number_of(label))):
            number = number_of(label)
            target = equations[label][0]
            anchor = make_refnode(
                builder, docname, target, f"equation-{label}", nodes.Text(f"({number})")
            )
            tests = [nodes.literal("", test) for test in claims.get(number, [])]
            body += row(
                [anchor],
                [page_link(target)],
                lines([api_link(name) for name in implementing.get(number, [])]),
                lines(tests),
                ids=[f"ledger-{label}"],
            )
        head = row(*([nodes.Text(t)] for t in ("式", "導出", "実装", "検査")))
        group = nodes.tgroup("", cols=4)
        group += [nodes.colspec(colwidth=width) for width in (8, 26, 30, 36)]
        group += [nodes.thead("", head), body]
        placeholder.replace_self(nodes.table("", group, classes=["ledger"]))


def link_equations(app, pagename, templatename, context, doctree) -> None:
    """Give each ledger equation of a page a small link to its row."""
    if "body" not in context or LEDGER not in app.env.all_docs:
        return
    uri = app.builder.get_relative_uri(pagename, LEDGER)

    def add(match: re.Match) -> str:
        if not LABEL.fullmatch(match["label"]):
            return match[0]
        link = (
            f'<a class="ledger-link" href="{uri}#ledger-{match["label"]}" '
            f'title="式の台帳" aria-label="式 ({match["number"]}) の台帳">台帳</a>'
        )
        return match[0].removesuffix("</span>") + link + "</span>"

    context["body"] = PRINTED.sub(add, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(LedgerTable)
    app.add_directive("equation-ledger", EquationLedger)
    app.connect("env-check-consistency", check)
    app.connect("doctree-resolved", fill)
    app.connect("html-page-context", link_equations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
