"""Section 1: the empirical distribution, what it converges to, and models that stand in for it."""

import math
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats

from lecture_pkg.data import empirical_distribution, gaussian_mixture_2d

P = [Fraction(1, 2), Fraction(1, 8), Fraction(3, 8)]  # a three-sided die


def score(outcome: int) -> int:
    return [2, -7, 5][outcome]


@pytest.mark.equation("1.1")
def test_discrete_weights_are_sums_of_kronecker_deltas(rng: torch.Generator) -> None:
    x = torch.randint(0, 2, (37, 3), generator=rng)
    p0 = empirical_distribution(x)
    counts = Counter(map(tuple, x.tolist()))
    assert 1 < len(counts) < len(x)
    for state in product([0, 1], repeat=3):
        by_deltas = Fraction(sum(tuple(row) == state for row in x.tolist()), len(x))
        assert by_deltas == Fraction(counts[state], len(x))
        given = p0.probability(torch.tensor([state]))
        assert given.item() == pytest.approx(float(by_deltas), abs=1e-15)


@pytest.mark.equation("1.1")
def test_expectation_is_the_mean_over_the_data(rng: torch.Generator) -> None:
    x = torch.randint(-3, 4, (53, 2), generator=rng)
    means = [
        math.fsum(a**3 - 2 * a * b for a, b in x.tolist()) / len(x),
        math.fsum(math.exp(b) for _, b in x.tolist()) / len(x),
    ]

    def f(rows: torch.Tensor) -> torch.Tensor:
        a, b = rows.double().T
        return torch.stack([a**3 - 2 * a * b, b.exp()], dim=1)

    assert empirical_distribution(x).expectation(f).tolist() == pytest.approx(means, rel=1e-12)


@pytest.mark.equation("1.1")
def test_dirac_deltas_are_the_limit_of_narrow_gaussians() -> None:
    """The mean of Gaussians of width ε around the data integrates f to the mean of f over them.

    The gap is the second-order term ε²/2 times the mean of f''.
    """
    data = np.array([-1.5, 0.25, 0.25, 2.0])

    def f(x: float) -> float:
        return math.sin(2 * x) + x**3

    exact = np.mean([f(x) for x in data])
    curvature = np.mean(-4 * np.sin(2 * data) + 6 * data)
    for width in (0.1, 0.03, 0.01):
        pieces = [
            integrate.quad(
                lambda x, c=centre, w=width: f(x) * stats.norm.pdf(x, c, w),
                centre - 12 * width,
                centre + 12 * width,
                epsabs=1e-13,
            )[0]
            for centre in data
        ]
        gap = np.mean(pieces) - exact
        assert gap == pytest.approx(0.5 * width**2 * curvature, rel=0.02)


@pytest.mark.equation("1.2")
@pytest.mark.parametrize("n", [1, 2, 5])
def test_error_of_an_average_over_every_possible_data_set(n: int) -> None:
    """E over all data sets of (Σ p0 f - Σ p f)² is Var(f)/n exactly, without one random number."""
    mean = sum(p * score(k) for k, p in enumerate(P))
    variance = sum(p * (score(k) - mean) ** 2 for k, p in enumerate(P))
    bias, square = Fraction(0), Fraction(0)
    for data in product(range(3), repeat=n):
        chance = math.prod(P[k] for k in data)
        error = Fraction(sum(map(score, data)), n) - mean
        bias += chance * error
        square += chance * error**2
    assert bias == 0
    assert square == variance / n


@pytest.mark.equation("1.2")
def test_plane_averages_converge_at_the_rate_of_one_over_root_n(rng: torch.Generator) -> None:
    """Every half-plane probability along a direction, at once.

    By the Dvoretzky-Kiefer-Wolfowitz inequality the largest error exceeds sqrt(ln(2/α)/2n) with
    probability α = 1e-7 at most; three sizes make a false-alarm rate below 1e-6.
    """
    plane = gaussian_mixture_2d()
    direction = np.array([0.6, 0.8])
    centres = plane.means.numpy() @ direction
    widths = np.sqrt(np.einsum("i,kij,j->k", direction, plane.covs.numpy(), direction))

    def cdf(t: np.ndarray) -> np.ndarray:
        return stats.norm.cdf(t[:, None], centres, widths) @ plane.weights.numpy()

    for n in (100, 10_000, 1_000_000):
        t = np.sort(plane.sample(n, rng=rng).numpy() @ direction)
        above = (np.arange(1, n + 1) / n - cdf(t)).max()
        below = (cdf(t) - np.arange(n) / n).max()
        assert max(above, below) < math.sqrt(math.log(2 / 1e-7) / (2 * n))


@pytest.mark.equation("1.3")
def test_a_family_that_holds_the_truth_reaches_it_and_another_does_not() -> None:
    """Maximum likelihood of a Gumbel truth within Gumbel and within normal distributions.

    Distances are total variations by quadrature on a grid. Within the right family they are at
    most 0.74 and 0.93 times the errors of location and scale; 0.01 is beyond 5.7 standard
    deviations of either at n = 200 000 (false alarm 2e-8). No normal distribution at all comes
    closer to the truth than 0.094.
    """
    truth = stats.gumbel_r(loc=1.0, scale=0.5)
    grid = np.linspace(-4, 12, 40_001)
    distances: dict[tuple[str, int], float] = {}
    generator = np.random.default_rng(7)
    for n in (200, 200_000):
        data = truth.rvs(n, random_state=generator)

        def loss(theta: np.ndarray, data: np.ndarray = data) -> float:
            return -stats.gumbel_r.logpdf(data, theta[0], math.exp(theta[1])).mean()

        loc, log_scale = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead").x
        fits = {
            "gumbel": stats.gumbel_r(loc, math.exp(log_scale)),
            "normal": stats.norm(data.mean(), data.std()),
        }
        for name, q in fits.items():
            gap = np.abs(q.pdf(grid) - truth.pdf(grid))
            distances[name, n] = 0.5 * integrate.trapezoid(gap, grid)
    assert distances["gumbel", 200_000] < 0.01
    assert min(distances["normal", n] for n in (200, 200_000)) > 0.09
