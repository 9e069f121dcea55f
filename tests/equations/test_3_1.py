"""Equations of section 3.1: mixtures of Gaussians and the steps of EM."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from scipy.stats import multivariate_normal
from torch import Tensor

from lecture_pkg.learning.em import fit_em, m_step
from lecture_pkg.models.mixture import GaussianMixture

WEIGHTS = np.array([0.5, 0.2, 0.3])
MEANS = np.array([[-1.0, 0.4], [1.5, -0.7], [0.3, 2.0]])
COVS = np.array([[[0.9, -0.4], [-0.4, 0.5]], [[0.4, 0.2], [0.2, 1.1]], [[0.3, 0.0], [0.0, 0.6]]])


def components(x: np.ndarray, means: np.ndarray = MEANS, covs: np.ndarray = COVS) -> np.ndarray:
    """Densities of the components by scipy, a column for each."""
    pairs = zip(means, covs, strict=True)
    return np.stack([multivariate_normal(mean, cov).pdf(x) for mean, cov in pairs], -1)


def model() -> GaussianMixture:
    return GaussianMixture(*(torch.from_numpy(a) for a in (WEIGHTS, MEANS, COVS)))


@pytest.fixture
def data(rng: torch.Generator) -> np.ndarray:
    """Points that do not come from the mixture: a skewed cloud and one far point."""
    x = torch.rand(23, 2, generator=rng, dtype=torch.float64).log()
    x[7] = torch.tensor([3.0, 2.5])
    return x.numpy() * np.array([1.2, -0.9]) + np.array([0.8, -0.3])


def log_likelihood(x: Tensor, weights: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """(3.3) written out with the precisions as free variables; sums to one only if `weights` do."""
    difference = x[:, None] - means
    quadratic = torch.einsum("nki,kij,nkj->nk", difference, precisions, difference)
    density = torch.linalg.det(precisions).sqrt() / (2 * math.pi) * torch.exp(-quadratic / 2)
    return (density @ weights).log().mean()


def gradients(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Automatic differentiation in C, μ and Σ⁻¹, all entries of Σ⁻¹ free."""
    free = [
        torch.tensor(value, requires_grad=True) for value in (WEIGHTS, MEANS, np.linalg.inv(COVS))
    ]
    log_likelihood(torch.from_numpy(x), *free).backward()
    weights, means, precisions = (parameter.grad for parameter in free)
    assert weights is not None
    assert means is not None
    assert precisions is not None
    return weights.numpy(), means.numpy(), precisions.numpy()


def responsibilities(x: np.ndarray) -> np.ndarray:
    joint = WEIGHTS * components(x)
    return joint / joint.sum(1, keepdims=True)


@pytest.mark.equation("3.1")
def test_density_is_the_weighted_sum_of_gaussians(data: np.ndarray) -> None:
    difference = data[:, None] - MEANS
    quadratic = np.einsum("nki,kij,nkj->nk", difference, np.linalg.inv(COVS), difference)
    written = WEIGHTS / np.sqrt((2 * np.pi) ** 2 * np.linalg.det(COVS)) * np.exp(-quadratic / 2)
    expected = components(data) @ WEIGHTS
    np.testing.assert_allclose(written.sum(1), expected, rtol=1e-12)
    np.testing.assert_allclose(model().log_prob(torch.from_numpy(data)), np.log(expected))


@pytest.mark.equation("3.2")
@pytest.mark.parametrize("weights", [WEIGHTS, np.array([0.5, 0.2, 0.6])])
def test_total_mass_is_the_sum_of_the_weights(weights: np.ndarray) -> None:
    line = np.linspace(-9, 9, 181)  # smooth and decaying: the sum is as good as the integral
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1)
    mass = (components(grid) @ weights).sum() * (line[1] - line[0]) ** 2
    assert mass == pytest.approx(weights.sum(), abs=1e-8)


@pytest.mark.equation("3.3")
def test_objective_is_the_mean_over_the_empirical_distribution(data: np.ndarray) -> None:
    repeated = np.concatenate([data, data[:5], data[:2]])
    support, counts = np.unique(repeated, axis=0, return_counts=True)
    expected = counts / len(repeated) @ np.log(components(support) @ WEIGHTS)
    x = torch.from_numpy(repeated)
    parameters = (torch.from_numpy(a) for a in (WEIGHTS, MEANS, np.linalg.inv(COVS)))
    assert float(log_likelihood(x, *parameters)) == pytest.approx(expected, rel=1e-12)
    first = fit_em(x, 3, rng=torch.Generator(), n_steps=1, initial=model()).log_likelihood[0]
    assert float(first) == pytest.approx(expected, rel=1e-12)


@pytest.mark.equation("3.4")
def test_gradient_in_the_means(data: np.ndarray) -> None:
    gamma = responsibilities(data)
    difference = data[:, None] - MEANS
    printed = np.einsum("nk,kij,nkj->ki", gamma, np.linalg.inv(COVS), difference) / len(data)
    np.testing.assert_allclose(printed, gradients(data)[1], rtol=1e-10, atol=1e-13)


@pytest.mark.equation("3.4")
def test_weighted_mean_solves_the_condition_with_the_responsibilities_fixed(
    data: np.ndarray,
) -> None:
    gamma = responsibilities(data)
    for k in range(3):
        weighted_mean = np.average(data, axis=0, weights=gamma[:, k])
        at_the_mean = gamma[:, k] @ (data - weighted_mean) @ np.linalg.inv(COVS[k])
        np.testing.assert_allclose(at_the_mean, 0, atol=1e-12)
        found = m_step(torch.from_numpy(data), torch.from_numpy(gamma)).means[k]
        np.testing.assert_allclose(found, weighted_mean, rtol=1e-12)


@pytest.mark.equation("3.5")
def test_gradient_in_the_precisions(data: np.ndarray) -> None:
    gamma = responsibilities(data)
    difference = data[:, None] - MEANS
    scatter = np.einsum("nk,nki,nkj->kij", gamma, difference, difference)
    printed = (-scatter + gamma.sum(0)[:, None, None] * COVS) / (2 * len(data))
    np.testing.assert_allclose(printed, gradients(data)[2], rtol=1e-10, atol=1e-13)


@pytest.mark.equation("3.6")
def test_covariance_is_the_weighted_covariance(data: np.ndarray) -> None:
    gamma = responsibilities(data)
    found = m_step(torch.from_numpy(data), torch.from_numpy(gamma))
    for k in range(3):
        expected = np.cov(data.T, aweights=gamma[:, k], bias=True)
        np.testing.assert_allclose(found.covs[k], expected, rtol=1e-11)


def best_weights(density: np.ndarray) -> np.ndarray:
    """The best weights for fixed components, by scipy's constrained optimiser."""
    result = minimize(
        lambda c: -np.log(density @ c).mean(),
        np.full(3, 1 / 3),
        jac=lambda c: -(density / (density @ c)[:, None]).mean(0),
        method="trust-constr",
        constraints=LinearConstraint(np.ones((1, 3)), 1, 1),
        bounds=[(1e-9, None)] * 3,
        options={"gtol": 1e-10, "xtol": 1e-13, "barrier_tol": 1e-12, "maxiter": 2000},
    )
    return result.x


def weights_by_fixed_point(density: np.ndarray) -> np.ndarray:
    weights = np.full(3, 1 / 3)
    for _ in range(20000):
        gamma = weights * density / (density @ weights)[:, None]
        weights = gamma.sum(0) / gamma.sum()
    return weights


@pytest.mark.equation("3.7")
def test_stationary_point_of_the_lagrangian_is_the_constrained_maximum(data: np.ndarray) -> None:
    """Components held fixed, the objective is concave in C: the stationary point is the maximum."""
    near = np.concatenate([data, MEANS, MEANS + np.array([0.3, -0.2])])  # no weight vanishes
    density = components(near)
    stationary = weights_by_fixed_point(density)
    gradient = (density / (density @ stationary)[:, None]).mean(0)
    np.testing.assert_allclose(gradient - 1, 0, atol=1e-7)  # ∂/∂C_k of the Lagrangian at λ = -1
    assert stationary.min() > 0.01  # C_k ≥ 0 does not bind here
    np.testing.assert_allclose(stationary, best_weights(density), atol=1e-5)


@pytest.mark.equation("3.8")
def test_gradient_in_the_weights(data: np.ndarray) -> None:
    printed = responsibilities(data).mean(0) / WEIGHTS
    np.testing.assert_allclose(printed, gradients(data)[0], rtol=1e-11)


@pytest.mark.equation("3.9")
def test_multiplier_is_minus_one_because_scaling_the_weights_adds_a_logarithm(
    data: np.ndarray,
) -> None:
    """Σ_k C_k ∂/∂C_k is the derivative along C → s C, and there the objective gains ln s."""
    x = torch.from_numpy(data)
    means, precisions = torch.from_numpy(MEANS), torch.from_numpy(np.linalg.inv(COVS))
    scaled = [
        float(log_likelihood(x, s * torch.from_numpy(WEIGHTS), means, precisions))
        for s in (1 - 1e-5, 1 + 1e-5)
    ]
    along = (scaled[1] - scaled[0]) / 2e-5
    printed = -responsibilities(data).sum() / len(data)
    assert printed == pytest.approx(-along, rel=1e-8)
    assert printed == pytest.approx(-1, rel=1e-12)


@pytest.mark.equation("3.10")
def test_weights_that_maximise_with_the_responsibilities_fixed(data: np.ndarray) -> None:
    gamma = responsibilities(data)
    found = m_step(torch.from_numpy(data), torch.from_numpy(gamma)).weights.numpy()
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits],
        max_iter=200,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -(torch.from_numpy(gamma) @ logits.log_softmax(0)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(found, logits.detach().softmax(0), atol=1e-7)
    assert found.sum() == pytest.approx(1, abs=1e-14)
