"""Number page titles only (1, 2, 2.1): a chapter's own headings would collide with its sections."""

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def leave_inner_headings_unnumbered(app: Sphinx, doctree: nodes.document) -> None:
    """Set the flag that Sphinx's numbering honours on every heading below the page title."""
    for entry in app.env.tocs[app.env.docname].findall(addnodes.compact_paragraph):
        if entry[0]["anchorname"]:  # the page title is the one entry without an anchor
            entry["skip_section_number"] = True
            entry[0]["secnumber"] = None  # read by sphinx-external-toc


def setup(app: Sphinx) -> dict[str, bool]:
    # After the collector that fills env.tocs, which runs at the default priority 500.
    app.connect("doctree-read", leave_inner_headings_unnumbered, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
