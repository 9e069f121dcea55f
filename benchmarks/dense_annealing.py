"""Annealing of a dense ±J glass, N = 100, 1024 chains, against dwave-samplers.

Both make Metropolis updates in order, one sweep at each inverse temperature of one schedule: the
one that dwave-samplers chooses for this problem. It computes in double precision, on one thread.
"""

import math
import sys

import numpy as np
import torch

from benchmarks.comparison import Row, measure, report, time_call
from lecture_pkg.models import BoltzmannMachine
from lecture_pkg.sampling import Metropolis

N_UNITS, N_CHAINS, N_SWEEPS, BAR = 100, 1024, 200, 3.5
BETAS = np.geomspace(math.log(2) / (2 * (N_UNITS - 1)), math.log(100), N_SWEEPS)


def couplings() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    J = torch.randint(2, (N_UNITS, N_UNITS), generator=rng).float().mul(2).sub(1).triu(1)
    return J + J.T


def ours() -> dict[str, float]:
    J = couplings()
    kernel = Metropolis(BoltzmannMachine(J, torch.zeros(N_UNITS)))
    rng = torch.Generator().manual_seed(1)
    energy = torch.empty(0)

    def anneal() -> None:
        nonlocal energy
        x = kernel.initial(N_CHAINS, rng=rng)
        for beta in BETAS:
            x = kernel.sweep(x, float(beta), rng=rng)
        energy = kernel.energy(x)

    seconds = time_call(anneal, repeats=3)
    return {"seconds": seconds, "mean": float(energy.mean()), "best": float(energy.min())}


def dwave() -> dict[str, float]:
    from dimod import BinaryQuadraticModel
    from dwave.samplers import SimulatedAnnealingSampler

    J = couplings()
    pairs = {(k, m): -float(J[k, m]) for k in range(N_UNITS) for m in range(k + 1, N_UNITS)}
    problem = BinaryQuadraticModel.from_ising({}, pairs)  # its energy is Σ J s s, of the other sign
    sampler = SimulatedAnnealingSampler()
    energy = np.empty(0)

    def anneal() -> None:
        nonlocal energy
        samples = sampler.sample(
            problem,
            num_reads=N_CHAINS,
            num_sweeps=N_SWEEPS,
            beta_schedule_type="geometric",
            beta_range=(BETAS[0], BETAS[-1]),
            seed=1,
        )
        energy = samples.record.energy

    seconds = time_call(anneal, repeats=3)
    return {"seconds": seconds, "mean": float(energy.mean()), "best": float(energy.min())}


def rows() -> list[Row]:
    runs = measure(__name__, ("ours", "dwave"))
    ours, theirs = runs["ours"], runs["dwave"]
    ratio = theirs["seconds"] / ours["seconds"]
    rate = N_UNITS * N_CHAINS * N_SWEEPS / ours["seconds"] / 1e6
    energies = ", ".join(
        f"{name} mean {run['mean'] / N_UNITS:.3f} best {run['best'] / N_UNITS:.3f}"
        for name, run in (("ours", ours), ("theirs", theirs))
    )
    return [
        Row(
            work=f"annealing, dense ±J, N = {N_UNITS}, {N_CHAINS} chains, {N_SWEEPS} sweeps, "
            "float32",
            peer="dwave-samplers",
            ours=ours["seconds"],
            theirs=theirs["seconds"],
            ratio=ratio,
            bar=f">= {BAR}x",
            reached=ratio >= BAR,
            quality=f"energy per spin: {energies}; {rate:.0f} M updates/s",
        )
    ]


def main(variant: str) -> None:
    report(**(ours() if variant == "ours" else dwave()))


if __name__ == "__main__":
    main(sys.argv[1])
