"""Exchange Monte Carlo of a 16 x 16 ±J glass at 32 temperatures, against peapods (Rust)."""

import os
import sys
import time

from benchmarks.comparison import Row, measure, report

SIDE, N_TEMPERATURES = 16, 32
HOTTEST, COLDEST = 3.0, 0.8
MODULE = "benchmarks.exchange"
SWEEPS = {1: 8000, 8: 1200, 64: 200}
BARS = {1: 1.1, 8: 3.0, 64: 6.0}
WARM_UP = 0.5  # of the sweeps; the energies of the others are averaged


def glass():
    import torch

    from lecture_pkg.models import edwards_anderson

    torch.set_num_threads(1)
    return edwards_anderson(SIDE, rng=torch.Generator().manual_seed(SIDE))


def temperatures():
    import numpy as np

    return np.geomspace(HOTTEST, COLDEST, N_TEMPERATURES)


def run_ours(n_replicas: int) -> None:
    import torch

    from lecture_pkg.sampling import lattice_exchange_monte_carlo

    lattice, betas = glass(), torch.from_numpy(1 / temperatures())
    rng = torch.Generator().manual_seed(int(time.time_ns()) % 2**31)

    def run(n_sweeps: int, initial=None):
        return lattice_exchange_monte_carlo(
            lattice, betas, n_sweeps, n_replicas=n_replicas, initial=initial, rng=rng
        )

    run(2)
    n_sweeps = SWEEPS[n_replicas]
    start = time.perf_counter()
    warm = run(int(WARM_UP * n_sweeps))
    result = run(n_sweeps - warm.state.n_sweeps, warm.state)
    seconds = time.perf_counter() - start
    report(seconds, **by_temperature((result.mean_energy / SIDE**2).tolist()))


def run_peapods(n_replicas: int) -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"
    import warnings

    import numpy as np
    from peapods import Ising

    warnings.simplefilter("ignore", RuntimeWarning)  # ratios of overlaps that are not used
    lattice = glass()
    bonds = np.stack([b.detach().numpy() for b in (lattice.down, lattice.right)], -1)
    model = Ising((SIDE, SIDE), couplings=bonds, temperatures=temperatures(), n_replicas=n_replicas)
    model.sample(2, pt_interval=1, sequential=True)
    model.reset()
    start = time.perf_counter()
    model.sample(SWEEPS[n_replicas], pt_interval=1, warmup_ratio=WARM_UP, sequential=True)
    report(time.perf_counter() - start, **by_temperature((-model.energies_avg).tolist()))


def by_temperature(energies: list[float]) -> dict[str, float]:
    return {f"energy_{level}": energy for level, energy in enumerate(energies)}


def rows() -> list[Row]:
    """Three rows on one thread; every sweep is followed by exchanges and counted energies.

    peapods proposes one exchange of one random pair after a sweep, ours every other pair: more
    work, and states travel faster. Sweeps are Metropolis in both.
    """
    table = []
    for n_replicas, bar in BARS.items():
        variants = [f"{who}-{n_replicas}" for who in RUNS]
        ours, theirs = measure(MODULE, variants, threads=1).values()
        ratio = theirs["seconds"] / ours["seconds"]
        speeds = [f"{SWEEPS[n_replicas] / one['seconds']:,.0f}" for one in (ours, theirs)]
        levels = by_temperature([0.0] * N_TEMPERATURES)
        difference = max(abs(ours[key] - theirs[key]) for key in levels)
        table.append(
            Row(
                work=f"exchange MC, L = {SIDE}, {N_TEMPERATURES} temperatures, "
                f"{n_replicas} replica{'s' * (n_replicas > 1)}, ±J, 1 thread",
                peer="peapods",
                ours=ours["seconds"],
                theirs=theirs["seconds"],
                ratio=ratio,
                bar=f">= {bar}x",
                reached=ratio >= bar and difference < 0.02,
                quality=(
                    f"{speeds[0]} and {speeds[1]} sweeps/s; mean energies a spin differ by "
                    f"{difference:.4f} at most"
                ),
            )
        )
    return table


RUNS = {"ours": run_ours, "peapods": run_peapods}

if __name__ == "__main__":
    who, _, replicas = sys.argv[1].partition("-")
    RUNS[who](int(replicas))
