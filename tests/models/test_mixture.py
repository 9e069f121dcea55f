"""Mixture of Gaussians against scipy, quadrature, Bayes' rule and torch.distributions."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions

from lecture_pkg.models.mixture import GaussianMixture


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


WEIGHTS = np.array([0.55, 0.15, 0.3])
MEANS = np.array([[0.0, 1.0], [2.5, -0.5], [-1.5, -2.0]])
COVS = np.array([[[1.0, 0.6], [0.6, 0.8]], [[0.3, -0.2], [-0.2, 0.9]], [[0.5, 0.0], [0.0, 0.1]]])


@pytest.fixture
def mixture() -> GaussianMixture:
    return GaussianMixture(tensor(WEIGHTS), tensor(MEANS), tensor(COVS))


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(5, 4, 2)) * 3


def scipy_joint(x: np.ndarray) -> np.ndarray:
    """C_z N(x; μ_z, Σ_z) as plain probabilities, one column a label."""
    terms = zip(WEIGHTS, MEANS, COVS, strict=True)
    return np.stack([c * stats.multivariate_normal(m, s).pdf(x) for c, m, s in terms], -1)


@pytest.mark.equation("3.1")
def test_densities_agree_with_scipy(mixture, points):
    joint = scipy_joint(points)
    np.testing.assert_allclose(mixture.log_joint(tensor(points)), np.log(joint), rtol=1e-11)
    np.testing.assert_allclose(mixture.log_prob(tensor(points)), np.log(joint.sum(-1)), rtol=1e-11)
    assert mixture.log_joint(tensor(points)).shape == (5, 4, 3)


@pytest.mark.equation("3.22")
def test_responsibilities_are_bayes_rule(mixture, points):
    joint = scipy_joint(points)
    truth = joint / joint.sum(-1, keepdims=True)
    np.testing.assert_allclose(mixture.responsibilities(tensor(points)), truth, rtol=1e-10)


@pytest.mark.equation("3.2")
def test_total_mass_is_one_by_quadrature(mixture):
    axis = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    inner = torch.trapezoid(mixture.log_joint(grid).exp(), axis, dim=1)
    mass = torch.trapezoid(inner, axis, dim=0)
    np.testing.assert_allclose(mass, WEIGHTS, atol=1e-9)  # each label has its own weight


def test_far_away_nothing_underflows(mixture):
    x = tensor([[1e4, -1e4], [-3e5, 1e5]])
    assert mixture.log_prob(x).isfinite().all()
    torch.testing.assert_close(mixture.responsibilities(x).sum(-1), torch.ones(2).double())
    assert not (scipy_joint(x.numpy()).sum(-1) > 0).any()  # where Bayes' rule as written is 0 / 0


def test_one_dimension_agrees_with_torch():
    weights, means, variances = tensor([0.2, 0.8]), tensor([-1.0, 2.0]), tensor([0.4, 3.0])
    ours = GaussianMixture(weights, means[:, None], variances[:, None, None])
    theirs = distributions.MixtureSameFamily(
        distributions.Categorical(weights), distributions.Normal(means, variances.sqrt())
    )
    x = torch.linspace(-6, 8, 29, dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(x[:, None]), theirs.log_prob(x), rtol=1e-12, atol=0)


def test_score_is_the_responsibility_weighted_pull(mixture, points):
    """∇ ln q(x) = Σ_z γ_z Σ_z⁻¹ (μ_z - x): gradients flow through log_prob."""
    x = tensor(points.reshape(-1, 2)).requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    joint = scipy_joint(x.detach().numpy())
    gamma = joint / joint.sum(-1, keepdims=True)
    pull = MEANS - x.detach().numpy()[:, None]
    truth = np.einsum("nz,zij,nzj->ni", gamma, np.linalg.inv(COVS), pull)
    np.testing.assert_allclose(score, truth, rtol=1e-9)


def test_a_component_without_weight_is_allowed(points):
    """Its label is impossible and the density is that of the others."""
    weights = tensor([0.4, 0.0, 0.6])
    x = tensor(points)
    whole = GaussianMixture(weights, tensor(MEANS), tensor(COVS))
    rest = GaussianMixture(weights[[0, 2]], tensor(MEANS[[0, 2]]), tensor(COVS[[0, 2]]))
    torch.testing.assert_close(whole.log_prob(x), rest.log_prob(x))
    assert (whole.responsibilities(x)[..., 1] == 0).all()


def test_ancestral_samples_have_the_joint_distribution(mixture, rng):
    """False alarm at most 1e-6: one test of the labels, then two for each label."""
    n, level = 30_000, 1e-6 / 7
    x, z = (values.numpy() for values in mixture.sample_joint(n, rng=rng))
    assert stats.chisquare(np.bincount(z, minlength=3), n * WEIGHTS).pvalue > level
    for label in range(3):
        deviation = x[z == label] - MEANS[label]
        precision, centre = np.linalg.inv(COVS[label]), deviation.mean(0)
        assert stats.chi2(2).sf(len(deviation) * centre @ precision @ centre) > level
        distance = np.einsum("ni,ij,nj->n", deviation, precision, deviation)
        assert stats.kstest(distance, stats.chi2(2).cdf).pvalue > level


def test_samples_are_the_joint_samples_without_labels(mixture):
    x, _ = mixture.sample_joint(20, rng=torch.Generator().manual_seed(3))
    assert torch.equal(mixture.sample(20, rng=torch.Generator().manual_seed(3)), x)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("weights", "means", "covs", "match"),
    [
        ([0.5, 0.4], MEANS[:2], COVS[:2], "sum to one"),
        ([1.2, -0.2], MEANS[:2], COVS[:2], "non-negative"),
        ([0.5, 0.5], MEANS, COVS, "weights must have shape"),
        ([0.5, 0.5], MEANS[:2], COVS, "covs must have shape"),
        ([0.5, 0.5], MEANS[:2], COVS[0], "covs must have shape"),
        ([1.0], MEANS[0], COVS[:1], "means must have shape"),
        ([0.5, 0.5], MEANS[:2] * np.nan, COVS[:2], "means must be finite"),
        ([0.5, 0.5], MEANS[:2], np.stack([COVS[0], -COVS[1]]), "covs 1 .*eigenvalue is -0.96"),
        ([0.5, 0.5], MEANS[:2], COVS[:2] + np.triu(np.ones((2, 2)), 1), "symmetric"),
    ],
)
def test_bad_parameters_are_refused(weights, means, covs, match):
    with pytest.raises(ValueError, match=match):
        GaussianMixture(tensor(weights), tensor(means), tensor(covs))


@pytest.mark.bad_input
def test_bad_points_are_refused(mixture):
    with pytest.raises(ValueError, match=r"shape \(..., 2\)"):
        mixture.log_prob(tensor([[1.0, 2.0, 3.0]]))
    with pytest.raises(ValueError, match="finite"):
        mixture.responsibilities(tensor([[1.0, float("nan")]]))
    with pytest.raises(TypeError, match="floating-point"):
        mixture.log_joint(torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match="n must be an integer"):
        mixture.sample(2.0, rng=torch.Generator())
    with pytest.raises(TypeError, match="one dtype"):
        GaussianMixture(tensor(WEIGHTS).float(), tensor(MEANS), tensor(COVS))
    with pytest.raises(TypeError, match="must be a torch"):
        GaussianMixture(WEIGHTS, tensor(MEANS), tensor(COVS))
