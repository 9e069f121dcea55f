"""Run the notebooks again and store their outputs, so that a diff shows only what changed.

    python book/run_notebooks.py                     every notebook of the book
    python book/run_notebooks.py book/part1/...ipynb some of them

Each notebook is written whole or not at all. The times go to book/reference/run_times.json,
from which the page of run times is made.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

BOOK = Path(__file__).resolve().parent
RUN_TIMES = BOOK / "reference" / "run_times.json"
CELL_TIMEOUT_SECONDS = 120


def execute(path: Path) -> float:
    """Run one notebook, store it, and return the seconds its cells took."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
    )
    started = time.perf_counter()
    # What a cell prints to stderr is in its output; the kernel's own notices are nobody's.
    client.execute(stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    normalise(notebook)
    write_atomically(path, nbformat.writes(notebook) + "\n")
    return seconds


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Remove what changes from run to run without meaning anything."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise ValueError(f"a cell printed to stderr: {output['text'][:300]}")
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step, so that a kill never leaves half of it."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False
    ) as part:
        part.write(text)
    os.chmod(part.name, 0o644)
    os.replace(part.name, path)


def store_run_times(seconds: dict[str, float]) -> None:
    """Merge the measured seconds into the stored ones; notebooks that are gone drop out."""
    known = json.loads(RUN_TIMES.read_text(encoding="utf-8")) if RUN_TIMES.exists() else {}
    known = {name: s for name, s in known.items() if (BOOK / name).exists()}
    known.update({name: round(s, 1) for name, s in seconds.items()})
    write_atomically(RUN_TIMES, json.dumps(known, indent=1, sort_keys=True) + "\n")


def main(arguments: list[str]) -> int:
    """Run the notebooks named, or all, several at once; return the exit status."""
    paths = [Path(a).resolve() for a in arguments] or sorted(BOOK.rglob("*.ipynb"))
    paths = [p for p in paths if ".ipynb_checkpoints" not in p.parts]
    for path in paths:
        if not (path.is_file() and path.is_relative_to(BOOK)):
            sys.exit(f"{path} is no notebook below {BOOK}; name the .ipynb files to run.")
    # One thread a kernel: the notebooks run side by side and must not fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seconds, failures = {}, []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        running = {pool.submit(execute, path): path for path in paths}
        for future in tqdm(as_completed(running), total=len(running), unit="notebook"):
            path = running[future]
            try:
                seconds[path.relative_to(BOOK).as_posix()] = future.result()
            except Exception as error:  # one notebook's failure must not lose the others
                failures.append(f"{path.relative_to(BOOK)}: {error}")
    store_run_times(seconds)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
