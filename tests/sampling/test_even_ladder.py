"""The ladder of even acceptance against acceptances summed over all pairs of states."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import BlockGibbs, HeatBath, even_acceptance_ladder


def normal(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def glass() -> BoltzmannMachine:
    J = 3 * normal(9, 9, seed=1).triu(1) / 3
    return BoltzmannMachine(J + J.T, normal(9, seed=2), "spin")


def rbm() -> RBM:
    W, b, c = 2.5 * normal(8, 6, seed=3), normal(8, seed=4), normal(6, seed=5) - 1
    return RBM.from_parameters(W, b, c, "binary")


def free_energies(model: BoltzmannMachine | RBM, betas: Tensor) -> Tensor:
    low = -1.0 if model.units == "spin" else 0.0
    n = 9 if isinstance(model, BoltzmannMachine) else 8
    x = torch.tensor(list(itertools.product([low, 1.0], repeat=n)), dtype=torch.float64)
    if isinstance(model, BoltzmannMachine):
        J, h = model.J.detach(), model.h.detach()
        return -betas[:, None] * (torch.einsum("si,ij,sj->s", x, J, x) / 2 + x @ h)
    z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    W, b, c = (t.detach() for t in (model.W, model.b, model.c))
    energy = -((x @ W) @ z.T + (x @ b)[:, None] + z @ c)
    return -(-betas[:, None, None] * energy).logsumexp(-1)


def exact_acceptance(F: Tensor) -> Tensor:
    rows = []
    for here, there in itertools.pairwise(F):
        work = there - here
        delta = work[:, None] - work  # x at the hotter, x' at the colder
        pair = torch.outer((-here).softmax(0), (-there).softmax(0))
        rows.append((pair * (-delta).exp().clamp(max=1)).sum())
    return torch.stack(rows)


CASES = {"glass": (glass, HeatBath), "rbm": (rbm, BlockGibbs)}


@pytest.mark.parametrize("case", CASES)
def test_acceptance_is_even_and_as_expected(case: str, rng: torch.Generator) -> None:
    make, kernel = CASES[case]
    model = make()
    ladder = even_acceptance_ladder(
        kernel(model), 0.0, 1.0, 6, n_sweeps=500, n_replicas=40, rng=rng
    )
    assert ladder.betas[0] == 0
    assert ladder.betas[-1] == 1
    accepted = exact_acceptance(free_energies(model, ladder.betas))
    # Standard deviation of an acceptance over 20 seeds: below 0.01.
    assert accepted.max() - accepted.min() < 0.07
    assert abs(accepted.mean() - ladder.acceptance) < 0.04
    even = exact_acceptance(free_energies(model, torch.linspace(0, 1, 6, dtype=torch.float64)))
    assert even.max() - even.min() > 0.25  # what the same number of equal steps would give
    assert accepted.min() > even.min() + 0.05

    # The length does not depend on the number of temperatures, and tells how many are needed.
    n = ladder.n_temperatures_for(0.8)
    finer = even_acceptance_ladder(kernel(model), 0.0, 1.0, n, n_sweeps=300, n_replicas=40, rng=rng)
    assert abs(finer.length / ladder.length - 1) < 0.1
    assert abs(exact_acceptance(free_energies(model, finer.betas)) - 0.8).max() < 0.08


def test_length_is_half_the_integral_of_the_spread_of_the_energy(rng: torch.Generator) -> None:
    model = glass()
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    F = free_energies(model, grid)
    q, energy = (-F).softmax(1), F[-1]
    spread = ((q * energy**2).sum(1) - (q * energy).sum(1) ** 2).sqrt()
    expected = float(torch.trapezoid(spread, grid)) / 2
    # The formula is that of a Gaussian energy; nine spins are only roughly so.
    ladder = even_acceptance_ladder(
        HeatBath(model), 0.0, 1.0, 12, n_sweeps=300, n_replicas=40, rng=rng
    )
    assert abs(ladder.length / expected - 1) < 0.15


def test_independent_units_without_energy_keep_equal_steps(rng: torch.Generator) -> None:
    flat = BoltzmannMachine(torch.zeros(3, 3).double(), torch.zeros(3).double())
    ladder = even_acceptance_ladder(HeatBath(flat), 0.0, 2.0, 5, n_sweeps=40, rng=rng)
    torch.testing.assert_close(ladder.betas, torch.linspace(0, 2, 5, dtype=torch.float64))
    assert ladder.acceptance == pytest.approx(1)
    assert ladder.n_temperatures_for(0.5) == 2


def test_hopeless_steps_still_lead_to_a_ladder(rng: torch.Generator) -> None:
    model = BoltzmannMachine(glass().J.detach() * 30, glass().h.detach() * 30)
    ladder = even_acceptance_ladder(HeatBath(model), 0.0, 1.0, 4, n_sweeps=400, rng=rng)
    assert (ladder.betas.diff() > 0).all()
    assert math.isfinite(ladder.length)
    assert ladder.n_temperatures_for(0.3) > 4


@pytest.mark.bad_input
def test_bad_input_is_refused(rng: torch.Generator) -> None:
    kernel = HeatBath(glass())
    for low, high in [(-0.1, 1.0), (1.0, 1.0), (1.0, 0.5), (0.0, math.inf), (math.nan, 1.0)]:
        with pytest.raises(ValueError, match="beta_min"):
            even_acceptance_ladder(kernel, low, high, 4, rng=rng)
    with pytest.raises(ValueError, match="n_temperatures"):
        even_acceptance_ladder(kernel, 0.0, 1.0, 1, rng=rng)
    with pytest.raises(ValueError, match="n_sweeps"):
        even_acceptance_ladder(kernel, 0.0, 1.0, 4, n_sweeps=1, rng=rng)
    ladder = even_acceptance_ladder(kernel, 0.0, 1.0, 3, n_sweeps=20, rng=rng)
    for acceptance in (0.0, 1.0, -0.3):
        with pytest.raises(ValueError, match="between 0 and 1"):
            ladder.n_temperatures_for(acceptance)
