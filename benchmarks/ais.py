"""Annealed importance sampling of a 784×500 RBM against rbms, 100 chains, 1000 temperatures.

The bar is set for 10 000 temperatures; the time of both grows in proportion to them, so a tenth is
timed. Only 16 hidden units have weights, so that log Z is known by enumeration; the time does not
depend on what the weights are.
"""

import math
import sys

import torch

from benchmarks.comparison import THREADS, Row, measure, report, time_call
from lecture_pkg import exact
from lecture_pkg.models import RBM
from lecture_pkg.sampling import BlockGibbs, annealed_importance_sampling

MODULE = "benchmarks.ais"
N_VISIBLE, N_HIDDEN, N_ACTIVE = 784, 500, 16
N_CHAINS, N_TEMPERATURES = 100, 1000


def parameters() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(784)
    W = torch.zeros(N_VISIBLE, N_HIDDEN)
    W[:, :N_ACTIVE] = torch.randn(N_VISIBLE, N_ACTIVE, generator=rng) * 0.25
    b = torch.randn(N_VISIBLE, generator=rng) - 1
    c = torch.zeros(N_HIDDEN)
    c[:N_ACTIVE] = torch.randn(N_ACTIVE, generator=rng) - 2
    return W, b, c


def truth() -> float:
    W, b, c = (parameter.double() for parameter in parameters())
    active = RBM.from_parameters(W[:, :N_ACTIVE], b, c[:N_ACTIVE], "binary")
    log_z = float(exact.log_partition(active).detach())
    return log_z + (N_HIDDEN - N_ACTIVE) * math.log(2)


def ours() -> None:
    W, b, c = parameters()
    kernel = BlockGibbs(RBM.from_parameters(W, b, c, "binary"), reference=b)
    betas = torch.linspace(0, 1, N_TEMPERATURES, dtype=torch.float64)
    rng = torch.Generator().manual_seed(1)
    runs = []

    def run() -> None:
        runs.append(annealed_importance_sampling(kernel, betas, N_CHAINS, rng=rng))

    seconds = time_call(run, warm_up=0)
    report(seconds, error=abs(float(runs[-1].log_partition) - truth()))


def theirs() -> None:
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.partition_function.ais import compute_partition_function_ais

    W, b, c = parameters()
    model = BBRBM(weight_matrix=W, vbias=b, hbias=c)
    torch.manual_seed(1)
    estimates = []

    def run() -> None:
        estimates.append(compute_partition_function_ais(N_CHAINS, N_TEMPERATURES, model))

    seconds = time_call(run, warm_up=0)
    report(seconds, error=abs(estimates[-1] - truth()))


def rows() -> list[Row]:
    return [_row(threads) for threads in sorted({1, THREADS})]


def _row(threads: int) -> Row:
    found = measure(MODULE, ["ours", "theirs"], repeats=3, threads=threads)
    mine, peer = found["ours"], found["theirs"]
    ratio = peer["seconds"] / mine["seconds"]
    return Row(
        work=f"AIS, 784x500, {N_TEMPERATURES} temperatures, float32, {threads} thread(s)",
        peer="rbms",
        ours=mine["seconds"],
        theirs=peer["seconds"],
        ratio=ratio,
        bar=">= 3x",
        reached=ratio >= 3 and mine["error"] < 0.5,
        quality=f"log Z off by {mine['error']:.2f}, theirs by {peer['error']:.2f} nats",
    )


if __name__ == "__main__":
    {"ours": ours, "theirs": theirs}[sys.argv[1]]()
