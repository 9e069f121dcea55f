"""Number page titles only (1, 2, 2.1): a chapter's own headings would collide with its sections."""

from collections.abc import Callable

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector


def mark_inner_headings(app: Sphinx, doctree: nodes.document) -> None:
    for entry in app.env.tocs[app.env.docname].findall(addnodes.compact_paragraph):
        if entry[0]["anchorname"]:  # the page title is the one entry without an anchor
            entry["skip_section_number"] = True
            entry[0]["secnumber"] = None  # sphinx-external-toc reads it without asking


def without_inner_headings(assign: Callable) -> Callable:
    """Hide marked headings while numbers are given.

    Sphinx honours the mark itself, but sphinx-external-toc always loads
    sphinx-multitoc-numbering, whose replacement does not.
    """

    def assign_section_numbers(self: TocTreeCollector, env: BuildEnvironment) -> list[str]:
        hidden = [
            (entry.parent, entry)
            for toc in env.tocs.values()
            for entry in toc.findall(addnodes.compact_paragraph)
            if "skip_section_number" in entry
        ]
        for item, entry in hidden:
            item.remove(entry)
        try:
            return assign(self, env)
        finally:
            for item, entry in hidden:
                item.insert(0, entry)

    return assign_section_numbers


def setup(app: Sphinx) -> dict[str, bool]:
    assign = TocTreeCollector.assign_section_numbers
    TocTreeCollector.assign_section_numbers = without_inner_headings(assign)
    # After the collector that fills env.tocs, which runs at the default priority 500.
    app.connect("doctree-read", mark_inner_headings, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
