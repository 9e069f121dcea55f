"""`{prf:proof}` with a title of its own, so that it can be folded (`:class: dropdown`).

sphinx-proof writes "Proof. " in front of the first source line, which breaks a proof that starts
with a formula, and gives every proof of a page the same id.
"""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Proof(SphinxDirective):
    has_content = True
    option_spec: ClassVar = {"class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        box = nodes.admonition(classes=["proof", *self.options.get("class", [])])
        box["ids"] = [f"proof-{self.env.new_serialno('proof')}"]
        box += nodes.paragraph("", "証明", classes=["admonition-title"])
        self.state.nested_parse(self.content, self.content_offset, box)
        return [box]


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx_proof")
    app.add_directive_to_domain("prf", "proof", Proof, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
