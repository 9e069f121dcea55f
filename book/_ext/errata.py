"""The errata page: an entry names the tests that show it, and neither exists without the other."""

from claims import marked
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

PREFIX = "erratum-"
logger = logging.getLogger(__name__)


class Tests(SphinxRole):
    """{erratum-tests}`2-30` becomes the tests that carry @pytest.mark.erratum("2-30")."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_reread()  # the tests are no source file that Sphinx watches
        shown = []
        for test in marked("erratum").get(self.text, []):
            shown += [nodes.Text("、")] if shown else []
            shown.append(nodes.literal("", test, classes=["erratum-test"]))
        return shown, []


def problems(entries: set[str], claims: set[str]) -> list[str]:
    """Return what is wrong between the entries of the page and the marks of the tests."""
    found = [f"no test shows erratum {key}" for key in entries - claims]
    found += [f"a test shows erratum {key}, which has no entry" for key in claims - entries]
    return sorted(found)


def check(app: Sphinx, env) -> None:
    labels = env.get_domain("std").labels
    entries = {label.removeprefix(PREFIX) for label in labels if label.startswith(PREFIX)}
    claims = {key.lower() for key in marked("erratum")}  # as Sphinx keeps labels
    for problem in problems(entries, claims):
        logger.warning("errata: %s", problem, type="errata")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("erratum-tests", Tests())
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
