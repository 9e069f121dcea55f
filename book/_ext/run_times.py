"""The table of run times, from what `make run` measured."""

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

TIMES = Path(__file__).resolve().parents[1] / "reference" / "run_times.json"


class RunTimesTable(nodes.General, nodes.Element):
    """Where the table will stand once every page has its title."""


class RunTimes(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(TIMES))
        return [RunTimesTable()]


def in_order(item: tuple[str, float]) -> tuple[str, bool, str]:
    """A chapter's own page stands before its sections."""
    folder, _, name = item[0].rpartition("/")
    return folder, name != "index.ipynb", name


def row(left: nodes.Node, seconds: float) -> nodes.row:
    right = nodes.paragraph("", f"{seconds:.1f}", classes=["seconds"])
    return nodes.row("", nodes.entry("", nodes.paragraph("", "", left)), nodes.entry("", right))


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for placeholder in list(doctree.findall(RunTimesTable)):
        times = json.loads(TIMES.read_text("utf-8")) if TIMES.exists() else {}
        body, total = nodes.tbody(), 0.0
        for name, seconds in sorted(times.items(), key=in_order):
            page = f"book/{name.removesuffix('.ipynb')}"
            title = app.env.titles.get(page)
            if title is None:
                continue  # measured, but not in the table of contents
            number = ".".join(map(str, title.get("secnumber") or ()))
            name = nodes.Text(f"{number} {title.astext()}".strip())
            body += row(make_refnode(app.builder, docname, page, "", name), seconds)
            total += seconds
        body += row(nodes.strong("", "合計"), total)
        group = nodes.tgroup("", cols=2)
        group += [nodes.colspec(colwidth=width) for width in (80, 20)]
        head = [nodes.entry("", nodes.paragraph("", text)) for text in ("ノートブック", "秒")]
        group += [nodes.thead("", nodes.row("", *head)), body]
        placeholder.replace_self(nodes.table("", group, classes=["run-times"]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_node(RunTimesTable)
    app.add_directive("run-times", RunTimes)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
