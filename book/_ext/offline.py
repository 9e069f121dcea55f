"""Take out what would be fetched from elsewhere: the site works with the network off."""

import re

from docutils import nodes
from sphinx.application import Sphinx

# matplotlib's animations name a font on a CDN; the theme's own icons draw the buttons.
REMOTE_STYLE = re.compile(r'<link[^>]*href="https?://[^>]*>')


def strip_remote_styles(app: Sphinx, doctree: nodes.document) -> None:
    for raw in doctree.findall(nodes.raw):
        if "<link" in raw.astext():
            raw.children = [nodes.Text(REMOTE_STYLE.sub("", raw.astext()))]


def drop_thebe(app, pagename, templatename, context, doctree) -> None:
    """Jupyter Book loads thebe's settings on every page: a CDN's address and a script error."""

    def is_thebe(asset: object) -> bool:
        body = getattr(asset, "attributes", {}).get("body", "")
        return "thebe" in f"{getattr(asset, 'filename', asset)} {body}"

    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context.get(kind, []) if not is_thebe(asset)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", strip_remote_styles)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
