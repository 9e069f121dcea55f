"""The API page: every public module of lecture_pkg, with signatures as the source writes them."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PAGE = "book/reference/api"
# The order in which data flows; a folder imports only from what stands before it.
LEADS = {
    "data": "標本はどこから来るか。真の分布が分かっている小さなデータと、本物の手書き数字。",
    "models": "分布とは何か。モデルごとに一つのファイルで、名前は分野で使われるとおり。",
    "exact": "数え上げによる真の値。対数分配関数、確率、モーメント。",
    "sampling": "モデルからどう標本を引くか。",
    "learning": "モデルをどうデータに合わせるか。勾配の推定、EM アルゴリズム、学習の繰り返し。",
    "evaluation": "モデルはどれだけ良いか。エントロピーと、分布の間の隔たり。",
    "grading": "手で導いた式を、数値で採点する。",
    "plotting": "図と動画。全巻を同じ見た目にそろえる。",
}
ORDER = list(LEADS)


def public_modules(root: Path = ROOT) -> list[str]:
    """Return the dotted names of all modules that hold public code, in the order of the page."""
    modules = []
    for path in (root / "lecture_pkg").rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            modules.append(".".join(parts))
    return sorted(modules, key=lambda name: (ORDER.index(name.split(".")[1]), name))


def add_modules(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname != PAGE:
        return
    folder = None
    for module in public_modules():
        _, top, *rest = module.split(".")
        if top != folder:
            folder = top
            source[0] += f"\n## {top}\n\n{LEADS[top]}\n"
        if rest:
            source[0] += f"\n### {'.'.join([top, *rest])}\n"
        source[0] += f"\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n"


def as_written(app: Sphinx, what: str, name: str, obj: Any, *_: Any) -> tuple | None:
    """Replace autodoc's evaluated annotations, so that shapes read as Float[Tensor, "n dim"]."""
    function = obj.__init__ if inspect.isclass(obj) else obj
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return None
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        return None
    arguments = definition.args
    if what in ("class", "method") and arguments.args and arguments.args[0].arg in ("self", "cls"):
        del arguments.args[0]
    returns = definition.returns if what != "class" else None
    return f"({ast.unparse(arguments)})", ast.unparse(returns) if returns else None


def plain_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: keep |x|, a * b and x_ from being read as markup."""

    def convert(part: str) -> str:
        if part.startswith("`"):
            return "``" + part.strip("`") + "``"
        return re.sub(r"[|*]|_(?!\w)", r"\\\g<0>", part)

    for i, line in enumerate(lines):
        lines[i] = "".join(map(convert, re.split(r"(`+[^`]+`+)", line)))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add_modules)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
