"""How a comparison is made: each variant in its own process, interleaved, medians, equal threads.

A module of comparisons exposes `rows()`, and runs a single variant when it is started as
`python -m MODULE VARIANT`: the child prints one line of JSON through `report`, and `measure`
collects those lines in the parent.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

THREADS = min(2, os.cpu_count() or 1)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Row:
    """One line of the table; `theirs` and `ratio` are None where a bar is absolute."""

    work: str
    peer: str
    ours: float  # seconds
    theirs: float | None  # seconds
    ratio: float | None  # theirs / ours
    bar: str
    reached: bool
    quality: str


def time_call(call: Callable[[], object], repeats: int = 1, warm_up: int = 1) -> float:
    """Return the median seconds of `call`, after calls that are not counted."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def report(seconds: float, **quality: float) -> None:
    """Print, in the child, what `measure` reads in the parent."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, **quality}))


def measure(
    module: str, variants: Sequence[str], repeats: int = 5, threads: int = THREADS
) -> dict[str, dict[str, Any]]:
    """Run the variants of a module in turn, each in a fresh process, and return the medians.

    Going round the variants, instead of finishing one before the next, lets a drift of the
    machine's speed touch all of them alike.
    """
    environment = os.environ | {name: str(threads) for name in _THREAD_VARIABLES}
    reports: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(repeats):
        for variant in variants:
            child = subprocess.run(
                [sys.executable, "-m", module, variant],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            reports[variant].append(json.loads(child.stdout.splitlines()[-1]))
    return {
        variant: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for variant, runs in reports.items()
    }


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows in aligned columns, then how many bars were reached."""
    table = [("work", "peer", "ours", "theirs", "ratio", "bar", "reached", "quality")]
    for row in rows:
        theirs = "-" if row.theirs is None else _seconds(row.theirs)
        ratio = "-" if row.ratio is None else _times(row.ratio)
        reached = "yes" if row.reached else "NO"
        table.append(
            (row.work, row.peer, _seconds(row.ours), theirs, ratio, row.bar, reached, row.quality)
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (c + " " * (w - len(c)) for c, w in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(f"bars reached: {sum(row.reached for row in rows)} of {len(rows)}")


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.2f}x"
