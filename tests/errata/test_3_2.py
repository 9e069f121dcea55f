"""Corrections of section 3.2 of the lecture notes."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([-1.0, 2.0])
VARIANCES = np.array([1.0, 9.0])
DATA = np.array([-2.3, -1.9, -2.0, 1.8, 2.4, 2.2])


def terms(x: float, determinant: np.ndarray | float) -> np.ndarray:
    """C_z exp(-½ (x - μ_z)² / Σ_z) / √(2π det) with whatever determinant is put in."""
    return (
        WEIGHTS * np.exp(-((x - MEANS) ** 2) / (2 * VARIANCES)) / np.sqrt(2 * np.pi * determinant)
    )


@pytest.mark.erratum("3-12")
def test_each_component_needs_its_own_determinant() -> None:
    def mass(determinant: np.ndarray | float) -> float:
        return quad(lambda x: terms(x, determinant).sum(), -60, 60, points=[0.0])[0]

    for shared in (1.0, 9.0):  # printed: det(Σ), one number for all z
        assert abs(mass(shared) - 1) > 0.1
        assert mass(shared) == pytest.approx(WEIGHTS @ np.sqrt(VARIANCES / shared), rel=1e-8)
    # One common determinant does give mass one, but the conditionals are then not normalised.
    common = float(WEIGHTS @ np.sqrt(VARIANCES)) ** 2
    assert mass(common) == pytest.approx(1, rel=1e-8)
    for z in range(2):
        conditional = quad(lambda x, z=z: terms(x, common)[z] / WEIGHTS[z], -60, 60, points=[0.0])[
            0
        ]
        assert abs(conditional - 1) > 0.2
        right = quad(lambda x, z=z: terms(x, VARIANCES)[z] / WEIGHTS[z], -60, 60, points=[0.0])[0]
        assert right == pytest.approx(1, rel=1e-8)
    assert mass(VARIANCES) == pytest.approx(1, rel=1e-8)


@pytest.mark.erratum("3-13")
def test_sum_over_the_label_is_the_marginal_not_the_joint() -> None:
    def joint(x: float, z: int) -> float:
        return float(terms(x, VARIANCES)[z])

    def summed(x: float) -> float:
        return joint(x, 0) + joint(x, 1)

    # Printed: q(x, z) = the sum. Read as a joint distribution its total mass is 2, and it says
    # the same for every z.
    mass = sum(quad(summed, -60, 60, points=[0.0])[0] for _ in range(2))
    assert mass == pytest.approx(2, rel=1e-8)
    assert joint(0.4, 0) != pytest.approx(summed(0.4), rel=0.05)
    assert joint(0.4, 1) != pytest.approx(summed(0.4), rel=0.05)
    # Corrected: the sum is the marginal q(x), and the joint has no sum and mass C_z.
    assert quad(summed, -60, 60, points=[0.0])[0] == pytest.approx(1, rel=1e-8)
    for z in range(2):
        assert quad(joint, -60, 60, args=(z,), points=[0.0])[0] == pytest.approx(WEIGHTS[z], 1e-8)


@pytest.mark.erratum("3-13")
def test_hidden_variable_is_drawn_anew_for_every_point_the_parameters_are_not() -> None:
    """Were (μ, Σ) the hidden variable of the data set, all points would share one component."""
    rng = np.random.default_rng(3)
    n = 20_000
    z = rng.choice(2, n, p=WEIGHTS)
    x = rng.normal(MEANS[z], np.sqrt(VARIANCES[z]))
    # Share below -1 by the marginal; five standard errors, false alarm 6e-7.
    expected = float(WEIGHTS @ norm(MEANS, np.sqrt(VARIANCES)).cdf(-1.0))
    assert abs((x < -1).mean() - expected) < 5 * math.sqrt(expected * (1 - expected) / n)
    for component in range(2):
        share = norm(MEANS[component], math.sqrt(VARIANCES[component])).cdf(-1.0)
        assert abs(share - expected) > 0.05


@pytest.mark.erratum("3-20")
def test_maximum_of_the_bound_with_the_posterior_held_fixed_is_lower() -> None:
    def log_joint(theta: float) -> np.ndarray:
        return norm(np.array([-theta, theta]), 1).logpdf(DATA[:, None]) + math.log(0.5)

    def likelihood(theta: float) -> float:
        return float(np.logaddexp.reduce(log_joint(theta), 1).mean())

    def bound(theta: float, old: float) -> float:
        posterior = np.exp(log_joint(old) - np.logaddexp.reduce(log_joint(old), 1)[:, None])
        return float((posterior * (log_joint(theta) - np.log(posterior))).sum(1).mean())

    def largest(f) -> tuple[float, float]:
        found = minimize_scalar(lambda t: -f(t), bounds=(0.01, 5), method="bounded")
        return float(found.x), -float(found.fun)

    _, top = largest(likelihood)
    theta, lower = largest(lambda t: bound(t, 0.5))
    assert top == pytest.approx(-1.635, abs=1e-3)
    assert lower == pytest.approx(-2.144, abs=1e-3)  # printed: equal
    # Corrected: at most, for every θ, and equal for θ = θ_0.
    for t in np.linspace(0.05, 4, 60):
        assert bound(t, 0.5) <= likelihood(t) + 1e-12
    assert bound(0.5, 0.5) == pytest.approx(likelihood(0.5), abs=1e-12)
    # With the posterior not held fixed, as printed, both sides are the same function of θ and
    # nothing has become simpler.
    for t in (0.3, 1.0, 2.5):
        assert bound(t, t) == pytest.approx(likelihood(t), abs=1e-12)
    # One maximisation is not enough, repeating it is.
    for _ in range(60):
        theta, lower = largest(lambda t, old=theta: bound(t, old))
    assert lower == pytest.approx(top, abs=1e-6)


@pytest.mark.erratum("3-23")
def test_logarithm_of_the_determinant_of_the_component() -> None:
    gamma = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], dtype=torch.float64)
    x = torch.tensor([-0.7, 2.5, 1.1], dtype=torch.float64)
    mean = (gamma * x[:, None]).sum(0) / gamma.sum(0)
    scatter = (gamma * (x[:, None] - mean) ** 2).sum(0)
    solution = scatter / gamma.sum(0)  # (3.25)

    def slope(log: bool, variance: torch.Tensor) -> torch.Tensor:
        precision = (1 / variance).requires_grad_()
        normaliser = precision.log() if log else precision
        q = (gamma * (-0.5 * (x[:, None] - mean) ** 2 * precision + 0.5 * normaliser)).sum(1).mean()
        (gradient,) = torch.autograd.grad(q, precision)
        return gradient

    torch.testing.assert_close(slope(True, solution), torch.zeros(2, dtype=torch.float64))
    printed = slope(False, solution)
    assert printed.abs().min() > 0.01
    # Linear in the precision: its slope is the same everywhere, so there is no maximum.
    torch.testing.assert_close(printed, slope(False, 7 * solution))


@pytest.mark.erratum("3-23")
def test_constant_is_part_of_the_value() -> None:
    """The bound touches the likelihood only if -N/2 ln 2π is kept."""
    log_joint = norm(MEANS, np.sqrt(VARIANCES)).logpdf(DATA[:, None]) + np.log(WEIGHTS)
    likelihood = np.logaddexp.reduce(log_joint, 1)
    gamma = np.exp(log_joint - likelihood[:, None])
    squares = (DATA[:, None] - MEANS) ** 2 / VARIANCES
    without = -0.5 * squares - 0.5 * np.log(VARIANCES) + np.log(WEIGHTS)
    entropy = -(gamma * np.log(gamma)).sum(1)
    bound = ((gamma * without).sum(1) + entropy).mean()
    assert bound > likelihood.mean() + 0.9  # above: no bound at all
    assert bound - 0.5 * math.log(2 * math.pi) == pytest.approx(likelihood.mean(), rel=1e-12)


@pytest.mark.erratum("3-24")
def test_weights_of_an_average_are_summed_over_all_samples() -> None:
    rng = np.random.default_rng(5)
    gamma = rng.dirichlet([1.0, 2.0, 0.5], size=8)  # (n, labels)
    point = np.array([0.4, -1.3])
    x = np.tile(point, (8, 1))
    for z in range(3):
        printed = gamma[:, z] @ x / gamma[: z + 1, z].sum()  # Σ_{i=1}^{z}, labels from 1
        right = gamma[:, z] @ x / gamma[:, z].sum()
        np.testing.assert_allclose(right, point, rtol=1e-13)
        assert np.abs(printed / point - 1).min() > 0.1
    # (3.25) has the same slip: the covariance of points on both sides of the mean.
    spread = np.array([-1.0, 1.0] * 4)
    for z in range(3):
        mean = gamma[:, z] @ spread / gamma[:, z].sum()
        scatter = gamma[:, z] @ (spread - mean) ** 2
        assert scatter / gamma[:, z].sum() == pytest.approx(1 - mean**2, rel=1e-12)
        assert scatter / gamma[: z + 1, z].sum() > 1.1 * (1 - mean**2)
