"""The numbers that were printed, and the links between equations and their rows."""

import re

import pytest
from claims import LABEL, PRINTED, number_of

pytestmark = pytest.mark.site
LEDGER = "book/reference/ledger.html"


@pytest.fixture(scope="module")
def printed(site):
    """Map each label to the page and the number printed there."""
    found = {}
    for page in (site / "book").rglob("*.html"):
        for match in PRINTED.finditer(page.read_text("utf-8")):
            assert match["label"] not in found, f"{match['label']} stands on two pages"
            found[match["label"]] = (page, match["number"])
    return {label: place for label, place in found.items() if LABEL.fullmatch(label)}


def test_printed_numbers_are_those_of_the_labels(printed):
    assert printed
    assert {label: number for label, (_, number) in printed.items()} == {
        label: number_of(label) for label in printed
    }


def test_every_equation_and_its_row_point_at_each_other(printed, site):
    ledger = (site / LEDGER).read_text("utf-8")
    rows = re.findall(r'<tr[^>]*id="ledger-(eq-[\w-]+)"', ledger)
    assert sorted(rows) == sorted(printed)
    for label, (page, _) in printed.items():
        assert f'ledger.html#ledger-{label}"' in page.read_text("utf-8")
        target = page.relative_to(site / "book").as_posix()
        assert f'href="../{target}#equation-{label}"' in ledger


def test_references_print_the_number_of_their_equation(printed, site):
    """What `{eq}` prints in the text is the number beside the equation."""
    reference = re.compile(r'href="[^"]*#equation-(eq-[\w-]+)"[^>]*>\(([\w.]+)\)</a>')
    seen = 0
    for page in (site / "book").rglob("*.html"):
        for label, number in reference.findall(page.read_text("utf-8")):
            assert number == number_of(label), f"{page.name}: {label}"
            seen += 1
    assert seen
