"""What is stored in the notebooks: complete, quiet, and free of the machine that made it."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(
    path for path in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
MACHINE = re.compile(
    r"/home/|/root/|/tmp/|/Users/|/usr/|/work/|[A-Z]:\\\\|site-packages|https?://localhost"
)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text("utf-8"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_every_cell_was_run_in_order(notebook):
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_cell_failed_or_wrote_to_stderr(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell["outputs"]]
    assert outputs
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_no_output_names_a_machine(notebook):
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            data = output.get("data", {})
            texts = [output.get("text", []), data.get("text/plain", []), data.get("text/html", [])]
            text = re.sub(r"base64,[^\"']*", "", "".join("".join(part) for part in texts))
            assert not MACHINE.search(text), MACHINE.search(text)


def test_the_kernel_is_any_python3(notebook):
    metadata = notebook["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert set(metadata) <= {"kernelspec", "language_info"}
    assert metadata.get("language_info", {}).get("version") is None


def test_every_figure_has_a_caption_and_what_it_shows_in_words(notebook):
    for cell in code_cells(notebook):
        kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        source = "".join(cell["source"])
        if "image/png" in kinds or "animate(" in source:
            assert figure.get("caption"), source
            assert figure.get("name", "").startswith("fig-"), source
        if "image/png" in kinds:
            assert cell["metadata"]["mystnb"].get("image", {}).get("alt"), source
        if "animate(" in source:
            assert "alt=" in source, source
