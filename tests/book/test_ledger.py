"""Every numbered equation is claimed by a test, and every claim has its equation."""

import re
from pathlib import Path

import pytest
from claims import implementations, marked, mentioned, number_of, problems

ROOT = Path(__file__).resolve().parents[2]
# The document's equations in the chapters that stand.
LAST = {"1": 3, "2": 44, "3": 30, "4": 7, "10": 8}
DOCUMENT = {f"{chapter}.{n}" for chapter, last in LAST.items() for n in range(1, last + 1)}
# The document leaves these chapters empty: they number their own, from 1 without a gap.
OURS = ("5", "6", "7")


def by_chapter(number: str) -> tuple[str, int]:
    chapter, n = number.split(".")
    return chapter, int(n)


def labels() -> list[str]:
    found = []
    for path in (ROOT / "book").rglob("*"):
        if path.suffix in {".md", ".ipynb"} and ".ipynb_checkpoints" not in path.parts:
            found += re.findall(r":label: (eq-[\w-]+?)(?:\\n|\n|$)", path.read_text("utf-8"))
    return found


def test_the_book_has_the_documents_equations_once_each():
    numbers = [number_of(label) for label in labels()]
    assert len(DOCUMENT) == 92
    assert sorted(n for n in numbers if by_chapter(n)[0] not in OURS) == sorted(DOCUMENT)


@pytest.mark.parametrize("chapter", OURS)
def test_a_chapter_of_our_own_numbers_its_equations_without_a_gap(chapter):
    numbers = sorted(n for c, n in map(by_chapter, map(number_of, labels())) if c == chapter)
    assert len(numbers) > 10
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_equation_is_claimed_and_every_claim_has_an_equation():
    assert sorted(marked("equation", ROOT)) == sorted(map(number_of, labels()))


def test_every_implementation_names_an_equation_of_the_book():
    assert set(implementations(ROOT)) <= set(map(number_of, labels()))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Equation (2.24), section 2.4.", ["2.24"]),
        ("Equations (2.1), (2.2) and (2.5).", ["2.1", "2.2", "2.5"]),
        ("Equations (2.27)-(2.30), section 2.5.", ["2.27", "2.28", "2.29", "2.30"]),
        ("Equations (3.1), (3.4)–(3.5)", ["3.1", "3.4", "3.5"]),
        ("Equation (A.3). Also Equation (10.1)", ["A.3", "10.1"]),
        ("see (2.24) and section 2.4", []),
    ],
)
def test_docstrings_name_equations(text, numbers):
    assert mentioned(text) == numbers


def test_marks_are_found_on_functions_classes_and_modules(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        "import pytest\n"
        "pytestmark = [pytest.mark.site, pytest.mark.equation('1.1')]\n"
        "@pytest.mark.equation('1.2', '1.3')\n"
        "def test_a(): ...\n"
        "@pytest.mark.equation('2.1')\n"
        "class TestB:\n"
        "    @pytest.mark.equation('2.2')\n"
        "    def test_c(self): ...\n"
        "def helper(): ...\n"
    )
    a, c = "tests/test_x.py::test_a", "tests/test_x.py::TestB::test_c"
    assert marked("equation", tmp_path) == {
        "1.1": [a, c],
        "1.2": [a],
        "1.3": [a],
        "2.1": [c],
        "2.2": [c],
    }


def test_what_is_wrong_is_named():
    claims = {"1.1": ["tests/t.py::a"], "1.3": ["tests/t.py::b"]}
    assert problems({"eq-1-1": "1.1"}, {"1.1": ["tests/t.py::a"]}) == []
    assert problems({"eq-1-1": "1.1", "eq-1-2": "1.3"}, claims) == [
        "equation eq-1-2 is printed as (1.3)",
        "no test claims equation (1.2)",
        "tests/t.py::b claims equation (1.3), which the book does not have",
    ]
