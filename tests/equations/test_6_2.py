"""Section 6.2: weights, copies, families, by sums over states and over the lot that decides."""

import itertools
import math

import pytest
import torch

from lecture_pkg.sampling.population import systematic_resample


@pytest.fixture
def energies():
    rng = torch.Generator().manual_seed(62)
    return torch.randn(2, 7, generator=rng, dtype=torch.float64)  # E_{t-1}, E_t of seven states


def copies(weights, u):
    """Systematic resampling by its definition: ticks u, 1 + u, ... on segments of length τ."""
    n = len(weights)
    tau = n * weights / weights.sum()
    ends = [0.0, *tau.cumsum(0).tolist()]
    ticks = [k + u for k in range(n)]
    return [sum(a <= tick < b for tick in ticks) for a, b in itertools.pairwise(ends)]


@pytest.mark.equation("6.16")
def test_the_weight_turns_one_equilibrium_into_the_next(energies):
    before, after = (-energies).exp()
    weight = (energies[0] - energies[1]).exp()
    left = weight * before / before.sum()
    right = after.sum() / before.sum() * (after / after.sum())
    assert torch.allclose(left, right, atol=1e-15)


@pytest.mark.equation("6.17")
def test_copies_are_what_is_expected_of_them():
    weights = torch.tensor([0.3, 2.2, 0.0, 1.7, 0.65, 1.15], dtype=torch.float64)
    tau = 6 * weights / weights.sum()
    grid = [(k + 0.5) / 2000 for k in range(2000)]  # the lot, by quadrature
    drawn = torch.tensor([copies(weights, u) for u in grid], dtype=torch.float64)
    assert torch.allclose(drawn.mean(0), tau, atol=2e-3)
    assert bool((drawn.sum(1) == 6).all())
    assert bool(((drawn - tau).abs() < 1).all())
    # The function of the package makes the same copies of the same lot.
    for seed in range(20):
        chosen = systematic_resample(
            weights / weights.sum(), rng=torch.Generator().manual_seed(seed)
        )
        u = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert torch.bincount(chosen, minlength=6).tolist() == copies(weights, float(u))


@pytest.mark.equation("6.18")
def test_mean_weights_multiply_to_an_unbiased_z():
    # Two members, three states, two steps: the initial population, the lot and both moves are
    # summed over; the moves keep balance.
    rng = torch.Generator().manual_seed(63)
    E = torch.randn(3, 3, generator=rng, dtype=torch.float64)
    P = (-E).softmax(1)
    w = 0.6 * torch.eye(3).double() + 0.4 * P[1][:, None]  # keeps P_1, moves some
    u = [(E[t] - E[t + 1]).exp() for t in range(2)]
    total = 0.0
    for i in range(3):
        for j in range(3):
            start = float(P[0, i] * P[0, j])
            weights = torch.stack([u[0][i], u[0][j]])
            first = float(weights.mean())
            # The lot: where the copies change, by the length of the segments.
            tau = 2 * weights / weights.sum()
            grid = sorted({0.0, 1.0, float(tau[0] % 1)})
            for low, high in itertools.pairwise(grid):
                n_i, n_j = copies(weights, (low + high) / 2)
                members = [i] * n_i + [j] * n_j
                expected = sum(float(w[:, m] @ u[1]) for m in members) / 2
                total += start * (high - low) * first * expected
    ratio = float((-E[2]).exp().sum() / (-E[0]).exp().sum())
    assert total == pytest.approx(ratio, rel=1e-12)


@pytest.mark.equation("6.19")
def test_rho_and_the_error_of_independent_families(rng):
    # Families are independent and of random size ν with mean one; Ẑ is in proportion to Σ ν.
    # Then Var(ln Ẑ) = (⟨ν²⟩ - 1) / R to leading order.
    R, n_runs = 400, 4000
    sizes = torch.poisson(torch.full((n_runs, R), 0.25), generator=rng).double() * 4
    assert float(sizes.square().mean()) == pytest.approx(5, rel=0.02)
    log_z = (sizes.sum(1) / R).log()
    rho = sizes.square().sum(1) / R
    predicted = float(((rho - 1) / R).sqrt().mean())
    assert predicted == pytest.approx(math.sqrt(4 / R), rel=0.02)
    # The spread of 4000 values has a relative error of 1.1 percent: five of those, and the
    # next order of the logarithm.
    assert float(log_z.std()) == pytest.approx(predicted, rel=0.08)
    # The two extremes: families of one member, and a single family.
    assert torch.ones(R).square().sum() / R == 1
    assert torch.tensor(float(R)).square() / R == R
