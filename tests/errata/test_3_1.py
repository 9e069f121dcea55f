"""Corrections of section 3.1 of the lecture notes."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lecture_pkg.learning.em import fit_em
from lecture_pkg.models.mixture import GaussianMixture

DATA = np.array([-2.3, -1.9, -2.0, 1.8, 2.4, 2.2])


def mean_log_likelihood(weights: np.ndarray, means: np.ndarray, widths: np.ndarray) -> float:
    return float(np.log(norm(means, widths).pdf(DATA[:, None]) @ weights).mean())


@pytest.mark.erratum("3-7")
def test_lagrangian_has_no_maximum_unless_the_weights_obey_their_constraints() -> None:
    """Printed: max over θ of the objective plus λ (Σ C - 1), with nothing said about C."""
    means, widths = np.array([-2.0, 2.0]), np.ones(2)
    density = norm(means, widths).pdf(DATA[:, None])
    # Over θ alone C is not a variable. Over C as well, scaling C makes the value as large as
    # one likes for a multiplier λ ≥ 0, and over λ as well, without any condition on its sign.
    values = [
        np.log(density @ np.full(2, s)).mean() + lam * (2 * s - 1)
        for s, lam in [(0.5, 0.0), (50.0, 0.0), (50.0, 10.0)]
    ]
    assert values[0] < values[1] - 4 < values[2] - 900
    # Without C_k ≥ 0 a sum of one still allows a negative "density".
    negative = np.array([1.5, -0.5])
    assert negative.sum() == 1
    assert (norm(means, widths).pdf(3.0) * negative).sum() < 0
    # Corrected: on the simplex the maximum exists, and the update (3.10) never leaves it.
    weights = np.array([0.9, 0.1])
    for _ in range(200):
        gamma = weights * density / (density @ weights)[:, None]
        weights = gamma.mean(0)
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1, abs=1e-12)
    line = np.linspace(0, 1, 2001)
    values_on_simplex = np.log(density @ np.stack([line, 1 - line])).mean(0)
    assert abs(line[values_on_simplex.argmax()] - weights[0]) <= 1 / 2000


@pytest.mark.erratum("3-em")
def test_repeated_updates_may_stop_at_a_saddle_point() -> None:
    """Printed: repeating the updates finds the optimum. Equal centres stay equal for ever."""

    def run(start: list[float]) -> tuple[np.ndarray, float]:
        means, weights = np.array(start), np.full(2, 0.5)
        value = -math.inf
        for _ in range(300):
            density = norm(means, 1.0).pdf(DATA[:, None])
            gamma = weights * density / (density @ weights)[:, None]
            means = (gamma * DATA[:, None]).sum(0) / gamma.sum(0)
            weights = gamma.mean(0)
            now = mean_log_likelihood(weights, means, np.ones(2))
            assert now >= value - 1e-12  # what does hold
            value = now
        return means, value

    stuck_means, stuck = run([0.4, 0.4])
    _, nudged = run([0.4, 0.41])
    assert stuck_means[0] == stuck_means[1]
    assert stuck == pytest.approx(-3.147, abs=1e-3)
    assert nudged == pytest.approx(-1.635, abs=1e-3)
    # The gradient vanishes at the place where it is stuck: a stationary point.
    slope = [
        mean_log_likelihood(np.full(2, 0.5), stuck_means + step, np.ones(2))
        for step in (np.array([1e-5, 0.0]), np.array([-1e-5, 0.0]))
    ]
    assert abs(slope[0] - slope[1]) / 2e-5 < 1e-8


@pytest.mark.erratum("3-em")
def test_package_stops_at_the_same_saddle_point() -> None:
    x = torch.from_numpy(DATA)[:, None]
    shared = GaussianMixture(
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        torch.full((2, 1), 0.4, dtype=torch.float64),
        torch.ones(2, 1, 1, dtype=torch.float64),
    )
    stuck = fit_em(x, 2, rng=torch.Generator(), initial=shared)
    spread = fit_em(x, 2, rng=torch.Generator().manual_seed(3))
    assert stuck.converged
    assert float(spread.log_likelihood[-1]) > float(stuck.log_likelihood[-1]) + 0.5


@pytest.mark.erratum("3-em")
def test_there_is_no_best_mixture_when_the_widths_are_free() -> None:
    """A component that shrinks onto a data point raises the likelihood without bound."""
    means = np.array([DATA[0], 0.0])
    values = [
        mean_log_likelihood(np.full(2, 0.5), means, np.array([width, 2.0]))
        for width in (1e-2, 1e-20, 1e-140)
    ]
    # One of the six points gains ln(1/width), a factor 1e18 is worth 18 ln 10 / 6 nats.
    np.testing.assert_allclose(np.diff(values), np.array([18, 120]) * math.log(10) / 6, rtol=1e-3)
