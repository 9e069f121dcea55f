"""Equations of section 3.2: hidden variables, the bound, and EM as its ascent."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import entropy, multivariate_normal, norm
from torch import Tensor

from lecture_pkg.learning.em import e_step, evidence_lower_bound, m_step, q_function
from lecture_pkg.models.mixture import GaussianMixture

WEIGHTS = np.array([0.15, 0.5, 0.35])
MEANS = np.array([[-1.2, 0.5], [0.8, -0.6], [0.4, 1.9]])
COVS = np.array([[[0.8, 0.3], [0.3, 0.4]], [[0.5, -0.2], [-0.2, 1.2]], [[0.3, 0.1], [0.1, 0.7]]])
OTHER_WEIGHTS = np.array([0.6, 0.3, 0.1])
OTHER_MEANS = MEANS[::-1] + 0.4
OTHER_COVS = 1.5 * COVS[[1, 2, 0]]


def joint(x: np.ndarray, weights: np.ndarray = WEIGHTS) -> np.ndarray:
    """q(x, z) by scipy, a column for each z."""
    pairs = zip(MEANS, COVS, strict=True)
    return weights * np.stack([multivariate_normal(m, s).pdf(x) for m, s in pairs], -1)


def other_joint(x: np.ndarray) -> np.ndarray:
    """The same under other parameters θ."""
    pairs = zip(OTHER_MEANS, OTHER_COVS, strict=True)
    return OTHER_WEIGHTS * np.stack([multivariate_normal(m, s).pdf(x) for m, s in pairs], -1)


def posterior_by_counting(x: np.ndarray, half_width: float = 1e-4) -> np.ndarray:
    """q(z | x) as the share of each z in the mass of a small box around x, no density used."""
    shares = []
    for c, mean, cov in zip(WEIGHTS, MEANS, COVS, strict=True):
        # In coordinates along an axis and given it, the mass of a box is a product of two.
        slope = cov[0, 1] / cov[0, 0]
        conditional = norm(
            mean[1] + slope * (x[0] - mean[0]), math.sqrt(cov[1, 1] - slope * cov[0, 1])
        )
        first = norm(mean[0], math.sqrt(cov[0, 0]))
        mass = c
        for law, value in ((first, x[0]), (conditional, x[1])):
            mass *= law.cdf(value + half_width) - law.cdf(value - half_width)
        shares.append(mass)
    return np.array(shares) / sum(shares)


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def model() -> GaussianMixture:
    return GaussianMixture(*tensors(WEIGHTS, MEANS, COVS))


def other_model() -> GaussianMixture:
    return GaussianMixture(*tensors(OTHER_WEIGHTS, OTHER_MEANS, OTHER_COVS))


@pytest.fixture
def data(rng: torch.Generator) -> np.ndarray:
    """Points between the components, so that no posterior is nearly zero or one everywhere."""
    return (1.2 * torch.randn(17, 2, generator=rng, dtype=torch.float64) + 0.3).numpy()


@pytest.fixture
def r(rng: torch.Generator) -> np.ndarray:
    """Arbitrary distributions of the label, one for each data point."""
    return torch.randn(17, 3, generator=rng, dtype=torch.float64).softmax(1).numpy()


@pytest.mark.equation("3.11")
def test_sum_over_the_hidden_variables_of_a_table() -> None:
    """z = (z_1, z_2) with 2 × 3 values: the marginal counts every way of producing x."""
    q_z = {z: w for z, w in zip(product(range(2), range(3)), [1, 2, 3, 4, 5, 6], strict=True)}
    q_x_given_z = {z: np.array([z[0] + 1, z[1] + 2, 3]) / (z[0] + z[1] + 6) for z in q_z}
    marginal = sum(q_x_given_z[z] * q_z[z] / 21 for z in q_z)
    # Truth by repeating each z as often as its weight says and counting in whole numbers.
    tickets = [(z, x) for z in q_z for x in range(3) for _ in range(q_z[z])]
    counted = np.zeros(3)
    for z, x in tickets:
        counted[x] += q_x_given_z[z][x]
    np.testing.assert_allclose(marginal, counted / 21, rtol=1e-13)
    assert marginal.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.equation("3.11")
def test_label_first_then_the_point_gives_the_marginal(rng: torch.Generator) -> None:
    """Ancestral samples fall into a rectangle as often as the summed density says."""
    n = 40_000
    x, z = model().sample_joint(n, rng=rng)
    box = (x > torch.tensor([-0.5, -1.0])).all(1) & (x < torch.tensor([1.5, 1.0])).all(1)
    corners = [(1.5, 1.0, 1), (-0.5, 1.0, -1), (1.5, -1.0, -1), (-0.5, -1.0, 1)]
    masses = [
        sum(sign * multivariate_normal(m, s).cdf([a, b]) for a, b, sign in corners)
        for m, s in zip(MEANS, COVS, strict=True)
    ]
    expected = float(WEIGHTS @ np.array(masses))
    # Four comparisons at 5.3 standard errors: false alarm 5e-7 in all.
    for found, truth in [(box, expected), *((z == k, WEIGHTS[k]) for k in range(3))]:
        error = math.sqrt(truth * (1 - truth) / n)
        assert abs(float(found.double().mean()) - truth) < 5.3 * error


@pytest.mark.equation("3.12")
def test_each_conditional_is_a_normalised_gaussian(data: np.ndarray) -> None:
    line = np.linspace(-10, 10, 401)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1)
    for k in range(3):

        def written(x: np.ndarray, k: int = k) -> np.ndarray:
            difference = x - MEANS[k]
            precision = np.linalg.inv(COVS[k])
            quadratic = np.einsum("...i,ij,...j->...", difference, precision, difference)
            return np.exp(-quadratic / 2) / np.sqrt((2 * np.pi) ** 2 * np.linalg.det(COVS[k]))

        assert written(grid).sum() * (line[1] - line[0]) ** 2 == pytest.approx(1, abs=1e-9)
        log_conditional = model().log_joint(*tensors(data))[:, k] - math.log(WEIGHTS[k])
        np.testing.assert_allclose(log_conditional, np.log(written(data)), rtol=1e-11)


@pytest.mark.equation("3.13")
def test_marginal_is_the_sum_of_the_joint(data: np.ndarray) -> None:
    np.testing.assert_allclose(
        model().log_prob(*tensors(data)), np.log(joint(data).sum(1)), rtol=1e-11
    )


@pytest.mark.equation("3.13")
def test_joint_integrates_to_the_weight_of_its_label() -> None:
    one_d = GaussianMixture(*tensors(WEIGHTS, MEANS[:, :1], COVS[:, :1, :1]))

    def density(x: float, z: int) -> float:
        return math.exp(float(one_d.log_joint(torch.tensor([x], dtype=torch.float64))[z]))

    for z in range(3):
        assert quad(density, -9, 9, args=(z,), points=[0.0])[0] == pytest.approx(WEIGHTS[z], 1e-9)


@pytest.mark.equation("3.14")
def test_joint_over_posterior_is_the_same_for_every_label(data: np.ndarray) -> None:
    for x in data:
        ratio = joint(x) / posterior_by_counting(x)
        np.testing.assert_allclose(ratio, joint(x).sum(), rtol=1e-5)


@pytest.mark.equation("3.15")
@pytest.mark.equation("3.16")
@pytest.mark.equation("3.17")
def test_average_over_any_r_splits_into_bound_and_divergence(
    data: np.ndarray, r: np.ndarray
) -> None:
    bounds = []
    for x, weights in zip(data, r, strict=True):
        posterior = posterior_by_counting(x)
        left = weights @ np.log(joint(x) / posterior)
        bound = weights @ np.log(joint(x) / weights)
        divergence = entropy(weights, posterior)  # scipy's relative entropy
        assert left == pytest.approx(bound - weights @ np.log(posterior / weights), abs=1e-12)
        assert math.log(joint(x).sum()) == pytest.approx(bound + divergence, abs=1e-6)
        assert bound <= math.log(joint(x).sum())
        bounds.append(bound)
    ours = evidence_lower_bound(model(), *tensors(data, r))
    assert float(ours) == pytest.approx(np.mean(bounds), rel=1e-11)


@pytest.mark.equation("3.17")
@pytest.mark.equation("3.18")
@pytest.mark.equation("3.19")
def test_best_r_is_the_posterior_and_closes_the_gap(data: np.ndarray) -> None:
    for x in data[:5]:

        def minus_bound(logits: np.ndarray, x: np.ndarray = x) -> float:
            weights = softmax(logits)
            return -float(weights @ np.log(joint(x) / weights))

        best = minimize(minus_bound, np.zeros(3), method="BFGS", options={"gtol": 1e-8})
        np.testing.assert_allclose(softmax(best.x), posterior_by_counting(x), atol=1e-4)
        assert -best.fun == pytest.approx(math.log(joint(x).sum()), abs=1e-6)  # (3.19)
    (points,) = tensors(data)
    closed = evidence_lower_bound(model(), points, e_step(model(), points))
    assert float(closed) == pytest.approx(np.log(joint(data).sum(1)).mean(), rel=1e-12)


def posterior(x: np.ndarray) -> np.ndarray:
    return joint(x) / joint(x).sum(1, keepdims=True)


@pytest.mark.equation("3.20")
def test_bound_with_the_old_posterior_lies_below_and_touches_at_the_old_parameter() -> None:
    """½ N(-θ, 1) + ½ N(2θ, 1): both sides as functions of θ, on a fine grid."""
    x = np.array([-2.1, -0.4, 1.3, 3.9, 4.4])[:, None]
    theta = np.linspace(-3, 4, 1401)
    old = theta[680]

    def log_joint(t: np.ndarray) -> np.ndarray:  # (theta, x, z)
        centres = np.stack([-t, 2 * t], -1)[..., None, :]
        return norm(centres, 1).logpdf(x) + math.log(0.5)

    likelihood = np.logaddexp.reduce(log_joint(theta), -1).mean(1)
    old_posterior = softmax(log_joint(np.array([old]))[0], -1)
    bound = (old_posterior * (log_joint(theta) - np.log(old_posterior))).sum(-1).mean(1)
    assert (bound <= likelihood + 1e-12).all()
    assert bound[680] == pytest.approx(likelihood[680], abs=1e-12)
    assert bound[685] < likelihood[685]
    assert bound.max() < likelihood.max() - 1e-3  # the maxima are not equal
    # ... but the ascent of the bound is an ascent of the likelihood.
    assert likelihood[bound.argmax()] - likelihood[680] >= bound.max() - bound[680] > 0


@pytest.mark.equation("3.21")
def test_q_is_the_bound_up_to_the_entropy_of_the_old_posterior(data: np.ndarray) -> None:
    gamma = posterior(data)
    q = sum(
        gamma[i, z] * math.log(other_joint(data[i])[z])
        for i, z in product(range(len(data)), range(3))
    ) / len(data)
    bound = (gamma * np.log(other_joint(data) / gamma)).sum(1).mean()
    assert bound - q == pytest.approx(entropy(gamma, axis=1).mean(), rel=1e-11)
    assert float(q_function(other_model(), *tensors(data, gamma))) == pytest.approx(q, rel=1e-11)


@pytest.mark.equation("3.22")
def test_posterior_of_the_label_is_the_responsibility(data: np.ndarray) -> None:
    counted = np.stack([posterior_by_counting(x) for x in data])
    np.testing.assert_allclose(e_step(model(), *tensors(data)), counted, atol=1e-6)
    np.testing.assert_allclose(posterior(data), counted, atol=1e-6)


def written_q(x: np.ndarray, gamma: np.ndarray, free: list[Tensor]) -> Tensor:
    """(3.23) with C, μ and Σ⁻¹ as free variables."""
    weights, means, precisions = free
    points, g = tensors(x, gamma)
    difference = points[:, None] - means
    quadratic = torch.einsum("nki,kij,nkj->nk", difference, precisions, difference)
    log_det = torch.linalg.slogdet(precisions).logabsdet
    terms = -quadratic / 2 + log_det / 2 + weights.log() - x.shape[1] / 2 * math.log(2 * math.pi)
    return (g * terms).sum(1).mean()


def q_gradients(
    x: np.ndarray, gamma: np.ndarray, weights: np.ndarray, means: np.ndarray, covs: np.ndarray
) -> list[np.ndarray]:
    free = [t.requires_grad_() for t in tensors(weights.copy(), means.copy(), np.linalg.inv(covs))]
    return [g.numpy() for g in torch.autograd.grad(written_q(x, gamma, free), free)]


@pytest.mark.equation("3.23")
def test_q_of_the_mixture_written_out(data: np.ndarray) -> None:
    gamma = posterior(data)
    written = written_q(data, gamma, tensors(OTHER_WEIGHTS, OTHER_MEANS, np.linalg.inv(OTHER_COVS)))
    expected = (gamma * np.log(other_joint(data))).sum(1).mean()
    assert float(written) == pytest.approx(expected, rel=1e-11)


@pytest.mark.equation("3.24")
def test_gradient_of_q_in_the_means(data: np.ndarray) -> None:
    gamma = posterior(data)
    difference = data[:, None] - OTHER_MEANS
    printed = np.einsum("nk,kij,nkj->ki", gamma, np.linalg.inv(OTHER_COVS), difference) / len(data)
    parameters = (OTHER_WEIGHTS, OTHER_MEANS, OTHER_COVS)
    np.testing.assert_allclose(printed, q_gradients(data, gamma, *parameters)[1], atol=1e-12)
    weighted = np.stack([np.average(data, axis=0, weights=gamma[:, z]) for z in range(3)])
    at_the_mean = q_gradients(data, gamma, OTHER_WEIGHTS, weighted, OTHER_COVS)[1]
    np.testing.assert_allclose(at_the_mean, 0, atol=1e-12)


@pytest.mark.equation("3.25")
def test_gradient_of_q_in_the_precisions(data: np.ndarray) -> None:
    gamma = posterior(data)
    difference = data[:, None] - OTHER_MEANS
    scatter = np.einsum("nk,nki,nkj->kij", gamma, difference, difference)
    printed = (-scatter + gamma.sum(0)[:, None, None] * OTHER_COVS) / (2 * len(data))
    parameters = (OTHER_WEIGHTS, OTHER_MEANS, OTHER_COVS)
    np.testing.assert_allclose(printed, q_gradients(data, gamma, *parameters)[2], atol=1e-12)
    found = m_step(*tensors(data, gamma))
    at_the_step = q_gradients(data, gamma, OTHER_WEIGHTS, found.means.numpy(), found.covs.numpy())
    np.testing.assert_allclose(at_the_step[2], 0, atol=1e-12)
    for z in range(3):
        expected = np.cov(data.T, aweights=gamma[:, z], bias=True)
        np.testing.assert_allclose(found.covs[z], expected, rtol=1e-10)


@pytest.mark.equation("3.26")
@pytest.mark.parametrize("total", [0.8, 1.0, 1.3])
def test_mass_of_x_is_one_just_when_the_hidden_weights_sum_to_one(total: float) -> None:
    """z = (z_1, z_2) with 2 × 3 values and Gaussians around z_1 - 2 z_2 / 3."""
    hidden = list(product(range(2), range(3)))
    weights = total * np.array([1, 5, 2, 3, 4, 6]) / 21
    centres = np.array([z[0] - 2 * z[1] / 3 for z in hidden])
    mass = quad(lambda x: float(weights @ norm(centres, 0.7).pdf(x)), -12, 13, points=[0.0])[0]
    assert mass == pytest.approx(total, abs=1e-9)
    assert (abs(mass - 1) < 1e-9) == (total == 1.0)


def best_weights_by_scipy(gamma: np.ndarray) -> np.ndarray:
    result = minimize(
        lambda c: -(gamma @ np.log(c)).mean(),
        np.full(3, 1 / 3),
        jac=lambda c: -(gamma / c).mean(0),
        method="SLSQP",
        constraints={"type": "eq", "fun": lambda c: c.sum() - 1, "jac": np.ones_like},
        bounds=[(1e-6, 1)] * 3,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert result.success
    return result.x


@pytest.mark.equation("3.27")
@pytest.mark.equation("3.30")
def test_constrained_maximum_of_q_in_the_weights(data: np.ndarray) -> None:
    gamma = posterior(data)
    printed = gamma.sum(0) / gamma.sum()
    np.testing.assert_allclose(printed, best_weights_by_scipy(gamma), atol=1e-6)
    np.testing.assert_allclose(m_step(*tensors(data, gamma)).weights, printed, rtol=1e-12)


@pytest.mark.equation("3.28")
def test_gradient_of_the_lagrangian_in_the_weights(data: np.ndarray) -> None:
    gamma = posterior(data)
    parameters = (OTHER_WEIGHTS, OTHER_MEANS, OTHER_COVS)
    printed = gamma.mean(0) / OTHER_WEIGHTS
    np.testing.assert_allclose(printed, q_gradients(data, gamma, *parameters)[0], rtol=1e-11)


@pytest.mark.equation("3.29")
def test_multiplier_is_the_price_of_the_constraint(data: np.ndarray) -> None:
    """-λ is how much max Q gains when the weights may sum to a little more than one."""
    gamma = posterior(data)
    best = best_weights_by_scipy(gamma)
    values = [(gamma @ np.log(s * best)).mean() for s in (1 - 1e-5, 1 + 1e-5)]
    price = (values[1] - values[0]) / 2e-5
    printed = -gamma.sum() / len(data)
    assert printed == pytest.approx(-price, rel=1e-8)
    assert printed == pytest.approx(-1, abs=1e-13)
