"""Each entry of the errata page has a test that shows the printed formula failing, and no more."""

import re
from pathlib import Path

from claims import marked

ROOT = Path(__file__).resolve().parents[2]


def test_every_entry_has_a_test_and_every_test_an_entry():
    page = (ROOT / "book" / "reference" / "errata.md").read_text("utf-8")
    entries = re.findall(r"^\(erratum-([\w-]+)\)=$", page, re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert sorted(entries) == sorted(marked("erratum", ROOT))
