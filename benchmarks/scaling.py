"""How the cost of a sweep grows with units, chains and temperatures.

`python -m benchmarks.scaling` writes `book/reference/scaling.json`, and draws
`book/images/costs.svg` from it.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import time_call
from lecture_pkg.models import RBM, BoltzmannMachine, edwards_anderson
from lecture_pkg.plotting import COLORS, use_style
from lecture_pkg.sampling import (
    BlockGibbs,
    Checkerboard,
    HeatBath,
    Kernel,
    exchange_monte_carlo,
    lattice_exchange_monte_carlo,
)

BOOK = Path(__file__).resolve().parents[1] / "book"
RESULTS, FIGURE = BOOK / "reference" / "scaling.json", BOOK / "images" / "costs.svg"
UNITS, CHAINS, TEMPERATURES = (
    (64, 144, 256, 576, 1024),
    (1, 4, 16, 64, 256, 1024),
    (2, 4, 8, 16, 32),
)
FIXED = {"units": 144, "chains": 256, "replicas": 64, "side": 12}
SHORTEST = 0.05  # seconds that one measurement lasts at least


def dense(n: int, rng: torch.Generator) -> HeatBath:
    J = (torch.randn(n, n, generator=rng) / math.sqrt(n)).triu(1)
    return HeatBath(BoltzmannMachine(J + J.T, torch.zeros(n)))


def two_layers(n: int, rng: torch.Generator) -> BlockGibbs:
    return BlockGibbs(RBM(n // 2, n - n // 2, rng=rng, scale=1 / math.sqrt(n)))


def lattice(n: int, rng: torch.Generator) -> Checkerboard:
    return Checkerboard(edwards_anderson(math.isqrt(n), distribution="gaussian", rng=rng))


KERNELS: dict[str, Callable[[int, torch.Generator], Kernel]] = {
    "HeatBath, dense": dense,
    "BlockGibbs, RBM": two_layers,
    "Checkerboard": lattice,
}


def seconds_a_call(call: Callable[[], object]) -> float:
    """Return the median time of a call, from five measurements that are not too short."""
    repeats = max(1, math.ceil(SHORTEST / time_call(call)))

    def many() -> None:
        for _ in range(repeats):
            call()

    return time_call(many, repeats=5, warm_up=0) / repeats


def sweep_seconds(kernel: Kernel, n_chains: int, rng: torch.Generator) -> float:
    x = kernel.initial(n_chains, rng=rng)
    return seconds_a_call(lambda: kernel.sweep(x, 0.7, rng=rng))


def exchange_seconds(n_temperatures: int, rng: torch.Generator) -> dict[str, float]:
    betas = torch.linspace(0.1, 1.0, n_temperatures, dtype=torch.float64)
    kernel, n_replicas, n_sweeps = dense(FIXED["units"], rng), FIXED["replicas"], 20
    glass = edwards_anderson(FIXED["side"], rng=rng)
    runs: dict[str, Callable[[], object]] = {
        "exchange, dense": lambda: exchange_monte_carlo(
            kernel, betas, n_sweeps, n_replicas=n_replicas, keep_every=n_sweeps, rng=rng
        ),
        "exchange, ±J lattice": lambda: lattice_exchange_monte_carlo(
            glass, betas, n_sweeps, n_replicas=n_replicas, rng=rng
        ),
    }
    return {name: seconds_a_call(run) / n_sweeps for name, run in runs.items()}


def measure() -> dict[str, Any]:
    rng = torch.Generator().manual_seed(0)
    units = {
        name: [sweep_seconds(make(n, rng), FIXED["chains"], rng) for n in UNITS]
        for name, make in KERNELS.items()
    }
    chains = {
        name: [sweep_seconds(make(FIXED["units"], rng), n, rng) for n in CHAINS]
        for name, make in KERNELS.items()
    }
    exchange = [exchange_seconds(n, rng) for n in TEMPERATURES]
    temperatures = {name: [one[name] for one in exchange] for name in exchange[0]}
    return {
        "fixed": FIXED,
        "threads": 1,
        "seconds_a_sweep": {
            "units": {"at": UNITS, **units},
            "chains": {"at": CHAINS, **chains},
            "temperatures": {"at": TEMPERATURES, **temperatures},
        },
    }


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    use_style()
    mpl.rcParams["svg.hashsalt"] = "costs"  # the same numbers give the same file
    fixed = results["fixed"]
    titles = {
        "units": f"units ({fixed['chains']} chains)",
        "chains": f"chains ({fixed['units']} units)",
        "temperatures": f"temperatures ({fixed['units']} units, {fixed['replicas']} replicas)",
    }
    colours = [COLORS[name] for name in ("blue", "orange", "green")]
    fig, axes = plt.subplots(3, 1, figsize=(5.6, 8.4))
    for ax, (quantity, title) in zip(axes, titles.items(), strict=True):
        curves = dict(results["seconds_a_sweep"][quantity])
        at = curves.pop("at")
        for colour, marker, (name, seconds) in zip(colours, "osD", curves.items(), strict=False):
            ax.loglog(at, [1e3 * s for s in seconds], marker=marker, color=colour, label=name)
        ax.set_xticks(at, [str(n) for n in at])
        ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 3)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.set(xlabel=f"number of {title}", ylabel="ms a sweep")
        ax.legend()
    write(path, lambda part: fig.savefig(part, format="svg", metadata={"Date": None}))
    plt.close(fig)


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Write beside the file and rename, so that a reader never sees half of it."""
    part = path.with_suffix(".part")
    save(part)
    os.replace(part, path)


def main() -> None:
    torch.set_num_threads(1)
    results = measure()
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    write(RESULTS, lambda part: part.write_text(text, encoding="utf-8"))
    draw(json.loads(text), FIGURE)


if __name__ == "__main__":
    main()
