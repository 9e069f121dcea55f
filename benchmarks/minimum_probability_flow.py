"""One gradient of minimum probability flow, N = 100, 10^4 samples, against a loop of flips."""

import sys

import torch

from benchmarks.comparison import Row, measure, report, time_call
from lecture_pkg.learning import MinimumProbabilityFlow
from lecture_pkg.models import BoltzmannMachine

N_UNITS, N_SAMPLES, BAR = 100, 10_000, 100


def problem() -> tuple[BoltzmannMachine, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    J = torch.randn(N_UNITS, N_UNITS, dtype=torch.float64, generator=rng).triu(1) / N_UNITS**0.5
    h = 0.1 * torch.randn(N_UNITS, dtype=torch.float64, generator=rng)
    x = torch.rand(N_SAMPLES, N_UNITS, dtype=torch.float64, generator=rng) < 0.5
    return BoltzmannMachine(J + J.T, h), 2.0 * x.double() - 1


def loop(model: BoltzmannMachine, x: torch.Tensor) -> None:
    """Flip one unit after the other, evaluate the energies anew, let autograd differentiate."""
    model.zero_grad()
    here = -energy(model, x)
    flow = torch.zeros((), dtype=x.dtype)
    for k in range(N_UNITS):
        flipped = x.clone()
        flipped[:, k] *= -1
        flow = flow + ((-energy(model, flipped) - here) / 2).exp().mean()
    flow.backward()


def energy(model: BoltzmannMachine, x: torch.Tensor) -> torch.Tensor:
    return -(((x @ model.J) * x).sum(1) / 2 + x @ model.h)


def rows() -> list[Row]:
    runs = measure(__name__, ("ours", "loop"))
    ours, theirs = runs["ours"], runs["loop"]
    ratio = theirs["seconds"] / ours["seconds"]
    difference = abs(ours["gradient"] - theirs["gradient"]) / theirs["gradient"]
    return [
        Row(
            work=f"MPF gradient, N = {N_UNITS}, {N_SAMPLES:,} samples, float64",
            peer="loop of flips, torch autograd",
            ours=ours["seconds"],
            theirs=theirs["seconds"],
            ratio=ratio,
            bar=f">= {BAR}x",
            reached=ratio >= BAR,
            quality=f"gradient norms differ by {difference:.1e}",
        )
    ]


def main(variant: str) -> None:
    model, x = problem()
    rule = MinimumProbabilityFlow()
    if variant == "ours":
        seconds = time_call(lambda: rule(model, x), repeats=15, warm_up=2)
    else:
        seconds = time_call(lambda: loop(model, x))
    norm = sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5
    report(seconds, gradient=norm)


if __name__ == "__main__":
    main(sys.argv[1])
