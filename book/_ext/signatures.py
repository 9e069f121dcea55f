"""Print signatures in the API reference as the source writes them, shapes included."""

import ast
import inspect
import textwrap
from typing import Any

from sphinx.application import Sphinx


def as_written(app: Sphinx, what: str, name: str, obj: Any, options: Any, *_: Any) -> Any:
    """Replace autodoc's evaluated annotations by the text between the source's parentheses."""
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
    returns = None
    if definition.returns is not None and what != "class":
        returns = ast.unparse(definition.returns)
    return f"({ast.unparse(arguments)})", returns


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-signature", as_written)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
