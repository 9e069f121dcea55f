"""Mend the pages: nothing is fetched from elsewhere, and a screen reader gets on."""

import re

from docutils import nodes
from sphinx.application import Sphinx

# matplotlib's animations name an icon font on a CDN.
REMOTE_STYLE = re.compile(r'<link[^>]*href="https?://[^>]*>')
# Jupyter Book loads thebe's settings on every page: a CDN's address and a script error.
THEBE = re.compile(
    r'<script type="text/x-thebe-config">.*?</script>|<script>kernelName =.*?</script>', re.DOTALL
)
# The theme makes scrolling boxes reachable by keyboard when the page loads or changes its size;
# boxes in folded parts need that when they are opened.
ON_UNFOLD = """
for (const happening of ["click", "toggle"]) addEventListener(happening, (event) => {
  if (event.target.closest?.(".admonition-title, details")) dispatchEvent(new Event("resize"));
}, true);
"""


def strip_remote_styles(app: Sphinx, doctree: nodes.document) -> None:
    for raw in doctree.findall(nodes.raw):
        if "<link" in raw.astext():
            raw.children = [nodes.Text(REMOTE_STYLE.sub("", raw.astext()))]


def mend(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context.get(kind, []) if not _is_thebe(asset)]
    body = THEBE.sub("", context.get("body", ""))
    # docutils' role for an entry of the bibliography is deprecated and not allowed in a list.
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')
    navigation = context["generate_toctree_html"]
    context["generate_toctree_html"] = lambda *args, **options: str(
        navigation(*args, **options)
    ).replace("<summary>", '<summary aria-label="節を開閉する">')


def _is_thebe(asset: object) -> bool:
    body = getattr(asset, "attributes", {}).get("body", "")
    return "thebe" in f"{getattr(asset, 'filename', asset)} {body}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_js_file(None, body=ON_UNFOLD)
    app.connect("doctree-read", strip_remote_styles)
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
