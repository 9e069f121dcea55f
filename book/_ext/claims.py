"""What the ledger is made from, read from the source without importing it."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LABEL = re.compile(r"eq-(\w+)-(\d+)")
NUMBER = r"\(\w+\.\d+\)"
# Equation (2.1) | Equations (2.1), (2.2) and (2.5) | Equations (2.27)-(2.30)
MENTION = re.compile(rf"Equations?\s+({NUMBER}(?:(?:,\s*and|,|\s+and|\s*[-–])\s*{NUMBER})*)")
RANGE = re.compile(r"\((\w+)\.(\d+)\)(?:\s*[-–]\s*\(\w+\.(\d+)\))?")
# What Sphinx prints beside an equation: its number, and the anchor that holds its label.
PRINTED = re.compile(
    r'<span class="eqno">\((?P<number>[^)]+)\)'
    r'<a class="headerlink" href="#equation-(?P<label>[^"]+)"[^>]*>[^<]*</a>'
)


def number_of(label: str) -> str:
    """eq-2-24 → 2.24."""
    return label.removeprefix("eq-").replace("-", ".")


def mentioned(text: str) -> list[str]:
    """Return the equation numbers that a docstring names, ranges written out."""
    numbers = []
    for mention in MENTION.finditer(text):
        for chapter, first, last in RANGE.findall(mention[1]):
            numbers += [f"{chapter}.{n}" for n in range(int(first), int(last or first) + 1)]
    return numbers


def implementations(root: Path = ROOT) -> dict[str, list[str]]:
    """Map an equation's number to the names in lecture_pkg whose docstring names it."""
    found = defaultdict(list)

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> None:
        for number in dict.fromkeys(mentioned(ast.get_docstring(node) or "")):
            found[number].append(name)
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                visit(child, f"{name}.{child.name}")

    for path in sorted((root / "lecture_pkg").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        visit(ast.parse(path.read_text("utf-8")), ".".join(parts).removesuffix(".__init__"))
    return found


def marked(marker: str, root: Path = ROOT) -> dict[str, list[str]]:
    """Map each argument of @pytest.mark.<marker>(...) to the tests that carry it."""
    found = defaultdict(list)

    def arguments(expressions: list[ast.expr]) -> list[str]:
        calls = (node for expression in expressions for node in ast.walk(expression))
        return [
            argument.value
            for call in calls
            if isinstance(call, ast.Call) and ast.unparse(call.func) == f"pytest.mark.{marker}"
            for argument in call.args
            if isinstance(argument, ast.Constant)
        ]

    def visit(node: ast.Module | ast.ClassDef, name: str, inherited: list[str]) -> None:
        for child in node.body:
            if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "pytestmark":
                inherited = inherited + arguments([child.value])
        for child in node.body:
            if isinstance(child, ast.ClassDef):
                inner = inherited + arguments(child.decorator_list)
                visit(child, f"{name}::{child.name}", inner)
            elif isinstance(child, ast.FunctionDef) and child.name.startswith("test_"):
                for key in dict.fromkeys(inherited + arguments(child.decorator_list)):
                    found[key].append(f"{name}::{child.name}")

    for path in sorted((root / "tests").rglob("test_*.py")):
        visit(ast.parse(path.read_text("utf-8")), path.relative_to(root).as_posix(), [])
    return found


def problems(printed: dict[str, str], claims: dict[str, list[str]]) -> list[str]:
    """Return what is wrong between labels, the numbers printed for them and the tests' claims."""
    numbers = {number_of(label) for label in printed}
    misprinted = [
        f"equation {label} is printed as ({number})"
        for label, number in printed.items()
        if number != number_of(label)
    ]
    unclaimed = [f"no test claims equation ({number})" for number in numbers - claims.keys()]
    unknown = [
        f"{test} claims equation ({number}), which the book does not have"
        for number in claims.keys() - numbers
        for test in claims[number]
    ]
    return sorted(misprinted + unclaimed + unknown)
