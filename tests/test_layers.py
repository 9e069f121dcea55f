"""The rules that tools keep: which folder imports which, style, and types."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT_IMPORTS = "import importlinter.cli as cli; raise SystemExit(cli.lint_imports(no_cache=True))"
COMMANDS = {
    "imports": [sys.executable, "-c", LINT_IMPORTS],
    "lint": [sys.executable, "-m", "ruff", "check", "--no-cache", "."],
    "format": [sys.executable, "-m", "ruff", "format", "--check", "--no-cache", "."],
    "types": [sys.executable, "-m", "mypy"],
}


@pytest.mark.parametrize("rule", COMMANDS)
def test_the_tools_find_nothing(rule: str) -> None:
    done = subprocess.run(COMMANDS[rule], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
