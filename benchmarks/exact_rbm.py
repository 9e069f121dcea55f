"""Exact log Z of RBMs with 784 visible units against rbms, whose function gets blocks of states."""

import sys

import torch

from benchmarks.comparison import THREADS, Row, measure, report, time_call
from lecture_pkg import exact
from lecture_pkg.models import RBM

N_VISIBLE, BAR = 784, 40
BLOCK = 2**15  # states that rbms is given at once: its fields of all 2^25 would take 105 GB


def problem(n_hidden: int) -> RBM:
    rng = torch.Generator().manual_seed(n_hidden)
    W = 0.3 * torch.randn(N_VISIBLE, n_hidden, generator=rng)
    b, c = torch.randn(N_VISIBLE, generator=rng) - 1, torch.randn(n_hidden, generator=rng)
    return RBM.from_parameters(W, b, c, "binary")  # float32, as rbms trains them


@torch.no_grad()
def ours(n_hidden: int, repeats: int) -> None:
    model = problem(n_hidden).double()
    seconds = time_call(lambda: exact.log_partition(model), repeats)
    report(seconds, log_z=float(exact.log_partition(model)))


@torch.no_grad()
def rbms(n_hidden: int, n_states: int) -> None:
    from rbms.bernoulli_bernoulli.classes import BBRBM
    from rbms.partition_function.exact import compute_partition_function

    model = problem(n_hidden)
    params = BBRBM(model.W.detach(), vbias=model.b.detach(), hbias=model.c.detach())
    shifts = torch.arange(n_hidden)

    def log_z_of(stop: int) -> float:
        sums = [
            compute_partition_function(
                params, (torch.arange(start, start + BLOCK)[:, None] >> shifts & 1).float()
            )
            for start in range(0, stop, BLOCK)
        ]
        return float(torch.tensor(sums, dtype=torch.float64).logsumexp(0))

    log_z_of(4 * BLOCK)  # compiles, and is not counted
    results = []
    seconds = time_call(lambda: results.append(log_z_of(n_states)), warm_up=0)
    report(seconds, log_z=results[0])


def row(n_hidden: int, repeats: int) -> Row:
    if repeats > 1:
        runs = measure(__name__, (f"ours_{n_hidden}", f"rbms_{n_hidden}"), repeats)
    else:  # minutes: rbms once, in the middle of ours
        first, theirs, second = (
            measure(__name__, (f"{name}_{n_hidden}",), 1) for name in ("ours", "rbms", "ours")
        )
        key = f"ours_{n_hidden}"
        runs = theirs | {key: {k: (v + second[key][k]) / 2 for k, v in first[key].items()}}
    mine, peer = runs[f"ours_{n_hidden}"], runs[f"rbms_{n_hidden}"]
    ratio = peer["seconds"] / mine["seconds"]
    relative = abs(mine["log_z"] - peer["log_z"]) / mine["log_z"]
    target = " and <= 3.5 s" if n_hidden == 25 else ""
    return Row(
        work=f"exact log Z, RBM {N_VISIBLE}x{n_hidden}, {THREADS} threads",
        peer="rbms" if repeats > 1 else "rbms, one run",
        ours=mine["seconds"],
        theirs=peer["seconds"],
        ratio=ratio,
        bar=f">= {BAR}x{target}",
        reached=ratio >= BAR and relative < 1e-5 and (not target or mine["seconds"] <= 3.5),
        quality=(
            f"ours float64, {mine['peak_bytes'] / 1e9:.2f} GB; rbms float32; "
            f"log Z differs by {relative:.0e} of itself"
        ),
    )


def rows() -> list[Row]:
    return [row(20, repeats=5), row(25, repeats=1)]


if __name__ == "__main__":
    name, size = sys.argv[1].split("_")
    if name == "ours":
        ours(int(size), repeats=5)
    else:
        rbms(int(size), n_states=2 ** int(size))
