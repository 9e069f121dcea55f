"""Build the site once, serve it on the loopback interface, drive a real Chromium over it."""

import fcntl
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site: $LECTURE_SITE, or a strict build of the working tree."""
    if "LECTURE_SITE" in os.environ:
        return Path(os.environ["LECTURE_SITE"]).resolve()
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    output = shared / "site"
    with (shared / "site.lock").open("w") as lock:  # one build for all workers
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            output.mkdir()
            program = Path(sys.executable).parent / "jupyter-book"
            command = [program, "build", ROOT, "--path-output", output]
            strict = ["-W", "-n", "--keep-going", "--quiet"]
            result = subprocess.run([*command, *strict], capture_output=True, text=True, cwd=ROOT)
            (output / "log").write_text(result.stderr + result.stdout[-2000:], "utf-8")
            (output / "failed").write_text("x" * (result.returncode != 0))
    if (output / "failed").read_text():
        pytest.fail("the site does not build without warnings:\n" + (output / "log").read_text())
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def origin(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        message = "Chromium is not installed (on Debian: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        launched.close()
