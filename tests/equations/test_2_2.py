"""Equations of section 2.2: the one-dimensional Gaussian and its learning."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm

from lecture_pkg.models.gaussian import Gaussian

PARAMETERS = [(0.0, 1.0), (-1.7, 0.3), (2.4, 5.6)]  # mean, variance
DATA = np.array([-2.1, 0.4, 0.5, 1.9, 3.3, 7.0])  # skewed: mean and median differ


def model(mean: float, variance: float) -> Gaussian:
    return Gaussian(
        torch.tensor([mean], dtype=torch.float64), torch.tensor([[variance]], dtype=torch.float64)
    )


def weight(x: float, mean: float, variance: float) -> float:
    return math.exp(-((x - mean) ** 2) / (2 * variance))


def objective(mean: float, variance: float) -> float:
    """The last form of (2.11)."""
    return ((DATA - mean) ** 2).mean() / (2 * variance) + 0.5 * math.log(variance)


@pytest.mark.equation("2.8")
@pytest.mark.parametrize(("mean", "variance"), PARAMETERS)
def test_unnormalised_weight_is_proportional_to_the_density(mean: float, variance: float) -> None:
    ratios = [
        weight(x, mean, variance) / norm.pdf(x, mean, math.sqrt(variance))
        for x in np.linspace(mean - 3, mean + 3, 9)
    ]
    assert np.ptp(ratios) < 1e-12 * ratios[0]


@pytest.mark.equation("2.9")
@pytest.mark.parametrize(("mean", "variance"), PARAMETERS)
def test_normalisation_by_quadrature(mean: float, variance: float) -> None:
    integral, _ = quad(weight, -np.inf, np.inf, args=(mean, variance), epsabs=1e-12)
    assert integral == pytest.approx(math.sqrt(2 * math.pi * variance), rel=1e-9)
    assert float(model(mean, variance).log_partition()) == pytest.approx(math.log(integral))


@pytest.mark.equation("2.10")
@pytest.mark.parametrize(("mean", "variance"), PARAMETERS)
def test_density_has_mass_one_and_the_moments_it_names(mean: float, variance: float) -> None:
    def density(x: float) -> float:
        return weight(x, mean, variance) / math.sqrt(2 * math.pi * variance)

    for power, expected in [(0, 1.0), (1, 0.0), (2, variance)]:
        moment, _ = quad(lambda x, k=power: (x - mean) ** k * density(x), -np.inf, np.inf)
        assert moment == pytest.approx(expected, abs=1e-7)
    x = np.linspace(mean - 4, mean + 4, 11)
    np.testing.assert_allclose(
        model(mean, variance).log_prob(torch.from_numpy(x[:, None])),
        [math.log(density(value)) for value in x],
        rtol=1e-12,
    )


@pytest.mark.equation("2.11")
@pytest.mark.parametrize(("mean", "variance"), PARAMETERS)
def test_objective_is_the_cross_entropy_up_to_a_constant(mean: float, variance: float) -> None:
    surprise = -norm.logpdf(DATA, mean, math.sqrt(variance)).mean()
    assert surprise - objective(mean, variance) == pytest.approx(0.5 * math.log(2 * math.pi))


@pytest.mark.equation("2.11")
def test_objective_follows_the_divergence_from_ever_narrower_peaks() -> None:
    """Differences of D_KL(p_ε‖q_θ) in θ, by quadrature, tend to those of (2.11) as ε → 0."""

    def divergence(width: float, mean: float, variance: float) -> float:
        def integrand(x: float) -> float:
            p = norm.pdf(x, DATA, width).mean()
            return p * (math.log(p) - norm.logpdf(x, mean, math.sqrt(variance))) if p > 0 else 0.0

        edges = np.concatenate([DATA - 10 * width, DATA + 10 * width])
        points = np.unique(np.concatenate([edges, DATA]))
        return sum(
            quad(integrand, a, b, epsabs=1e-11, limit=200)[0] for a, b in itertools.pairwise(points)
        )

    theta, other = (0.3, 2.0), (1.5, 9.0)
    exact = objective(*theta) - objective(*other)
    gaps = [divergence(w, *theta) - divergence(w, *other) - exact for w in (0.04, 0.01)]
    # A peak of width ε adds ε²/(2σ²) to the first term: the gap falls as ε².
    for gap, width in zip(gaps, (0.04, 0.01), strict=True):
        assert gap == pytest.approx(width**2 / 2 * (1 / theta[1] - 1 / other[1]), rel=1e-3)


def surprise_gradient(mean: float, variance: float) -> tuple[float, float]:
    """∂/∂μ and ∂/∂σ² of the mean surprise of the data, by automatic differentiation."""
    theta = torch.tensor([mean, variance], dtype=torch.float64, requires_grad=True)
    normal = torch.distributions.Normal(theta[0], theta[1].sqrt())
    (-normal.log_prob(torch.from_numpy(DATA)).mean()).backward()
    assert theta.grad is not None
    return float(theta.grad[0]), float(theta.grad[1])


def best_theta() -> tuple[float, float]:
    """Where a general-purpose optimiser finds the largest likelihood."""
    result = minimize(
        lambda t: -norm.logpdf(DATA, t[0], math.exp(t[1] / 2)).mean(), [0.0, 0.0], tol=1e-12
    )
    return result.x[0], math.exp(result.x[1])


@pytest.mark.equation("2.12")
@pytest.mark.parametrize(("mean", "variance"), PARAMETERS)
def test_gradient_in_the_mean(mean: float, variance: float) -> None:
    printed = -(DATA - mean).mean() / variance
    assert printed == pytest.approx(surprise_gradient(mean, variance)[0], rel=1e-12)


@pytest.mark.equation("2.12")
def test_best_mean_is_the_mean_of_the_data() -> None:
    assert best_theta()[0] == pytest.approx(DATA.sum() / len(DATA), abs=1e-5)
    fitted = Gaussian.fit(torch.from_numpy(DATA[:, None]))
    assert float(fitted.mean) == pytest.approx(DATA.sum() / len(DATA), rel=1e-12)


@pytest.mark.equation("2.13")
@pytest.mark.parametrize(("mean", "variance"), PARAMETERS)
def test_gradient_in_the_variance(mean: float, variance: float) -> None:
    printed = -((DATA - mean) ** 2).mean() / (2 * variance**2) + 1 / (2 * variance)
    assert printed == pytest.approx(surprise_gradient(mean, variance)[1], rel=1e-12)


@pytest.mark.equation("2.13")
def test_best_variance_divides_by_n() -> None:
    by_n = ((DATA - DATA.mean()) ** 2).sum() / len(DATA)
    by_n_minus_one = ((DATA - DATA.mean()) ** 2).sum() / (len(DATA) - 1)
    assert best_theta()[1] == pytest.approx(by_n, rel=1e-5)
    assert best_theta()[1] != pytest.approx(by_n_minus_one, rel=1e-2)
    fitted = Gaussian.fit(torch.from_numpy(DATA[:, None]))
    assert float(fitted.cov) == pytest.approx(by_n, rel=1e-12)
