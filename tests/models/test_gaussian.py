"""Gaussian against quadrature, scipy, torch.distributions and automatic differentiation."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from lecture_pkg.models.gaussian import Gaussian, kl_gaussian


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_gaussian(seed: int, dim: int) -> Gaussian:
    """Asymmetric: correlations of both signs, variances of different size."""
    draw = np.random.default_rng(seed)
    factor = draw.normal(size=(dim, dim)) * draw.uniform(0.3, 3, size=dim)[:, None]
    return Gaussian(
        tensor(3 * draw.normal(size=dim)), tensor(factor @ factor.T + 0.1 * np.eye(dim))
    )


LINE = Gaussian(tensor([0.7]), tensor([[0.3]]))
PLANE = Gaussian(tensor([0.4, -1.1]), tensor([[1.3, -0.7], [-0.7, 0.6]]))


def integral(f, gaussian: Gaussian) -> float:
    """Trapezoidal rule over ±9 standard deviations, accurate to rounding for smooth tails."""
    half = 9 * gaussian.cov.diagonal().sqrt()
    axes = [
        torch.linspace(float(m - h), float(m + h), 601, dtype=torch.float64)
        for m, h in zip(gaussian.mean, half, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    values = f(grid)
    for axis in reversed(axes):
        values = torch.trapezoid(values, axis)
    return float(values)


@pytest.mark.equation("2.9")
def test_normaliser_on_the_line_by_adaptive_quadrature():
    area, _ = integrate.quad(lambda x: np.exp(-((x - 0.7) ** 2) / (2 * 0.3)), -np.inf, np.inf)
    assert float(LINE.log_partition()) == pytest.approx(np.log(area), abs=1e-10)


@pytest.mark.equation("2.16")
@pytest.mark.equation("2.20")
def test_normaliser_in_the_plane_by_quadrature():
    precision = np.linalg.inv(PLANE.cov.numpy())

    def weight(x):
        deviation = x.numpy() - PLANE.mean.numpy()
        return tensor(np.exp(-0.5 * np.einsum("...i,ij,...j", deviation, precision, deviation)))

    assert float(PLANE.log_partition().exp()) == pytest.approx(integral(weight, PLANE), rel=1e-10)


@pytest.mark.parametrize("gaussian", [LINE, PLANE])
def test_total_mass_is_one(gaussian):
    assert integral(lambda x: gaussian.log_prob(x).exp(), gaussian) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_log_prob_agrees_with_scipy(dim):
    """Mistake 7 of public code: the factor of the dimension inside every element."""
    gaussian = random_gaussian(dim, dim)
    x = np.random.default_rng(9).normal(size=(4, 3, dim)) * 5
    truth = stats.multivariate_normal(gaussian.mean.numpy(), gaussian.cov.numpy()).logpdf(x)
    assert gaussian.log_prob(tensor(x)).shape == (4, 3)
    np.testing.assert_allclose(gaussian.log_prob(tensor(x)), truth, rtol=1e-11)
    assert gaussian.log_prob(tensor(x[0, 0])).shape == ()


def test_float32_stays_float32(rng):
    gaussian = Gaussian(PLANE.mean.float(), PLANE.cov.float())
    x = gaussian.sample(10, rng=rng)
    assert x.dtype == gaussian.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(
        gaussian.log_prob(x).double(), PLANE.log_prob(x.double()), rtol=1e-4, atol=1e-4
    )


def test_fit_is_mean_and_covariance_over_n():
    x = np.random.default_rng(0).normal(size=(7, 3)) @ np.triu(np.ones((3, 3))) + 100
    fitted = Gaussian.fit(tensor(x))
    np.testing.assert_allclose(fitted.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(fitted.cov, np.cov(x.T, bias=True), rtol=1e-11)


@pytest.mark.equation("2.23")
@pytest.mark.equation("2.24")
def test_gradient_of_the_likelihood_vanishes_at_the_fit():
    x = tensor(np.random.default_rng(1).gamma(2.0, size=(40, 3)))
    fitted = Gaussian.fit(x)
    mean, cov = fitted.mean.requires_grad_(), fitted.cov.requires_grad_()
    likelihood = torch.distributions.MultivariateNormal(mean, cov).log_prob(x).mean()
    for gradient in torch.autograd.grad(likelihood, (mean, cov)):
        assert gradient.abs().max() < 1e-12
    for step in (1e-3, -1e-3):  # a maximum, not a saddle
        assert Gaussian(fitted.mean + step, fitted.cov).log_prob(x).mean() < likelihood
        assert Gaussian(fitted.mean, fitted.cov * (1 + step)).log_prob(x).mean() < likelihood


def test_gradients_flow_to_the_parameters():
    mean, cov = PLANE.mean.clone().requires_grad_(), PLANE.cov.clone().requires_grad_()
    x = tensor([[0.3, 2.0], [-1.0, 0.5]])
    assert torch.autograd.gradcheck(
        lambda m, c: Gaussian(m, 0.5 * (c + c.mT)).log_prob(x), (mean, cov)
    )


def test_samples_have_the_distribution(rng):
    """False alarm at most 1e-6: two tests at level 5e-7 each."""
    gaussian, n = random_gaussian(3, 3), 20_000
    deviation = gaussian.sample(n, rng=rng).numpy() - gaussian.mean.numpy()
    precision = np.linalg.inv(gaussian.cov.numpy())
    centre = deviation.mean(0)
    assert stats.chi2(3).sf(n * centre @ precision @ centre) > 5e-7
    distance = np.einsum("ni,ij,nj->n", deviation, precision, deviation)
    assert stats.kstest(distance, stats.chi2(3).cdf).pvalue > 5e-7


def test_sampling_is_reproducible_and_leaves_global_state_alone():
    before = torch.get_rng_state()
    first, second = (PLANE.sample(5, rng=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (LINE, Gaussian(tensor([-0.5]), tensor([[1.9]]))),
        (Gaussian(tensor([-0.5]), tensor([[1.9]])), LINE),
        (PLANE, Gaussian(tensor([0.0, 0.5]), tensor([[0.8, 0.5], [0.5, 2.0]]))),
    ],
)
def test_kl_by_quadrature(p, q):
    truth = integral(lambda x: p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x)), p)
    assert float(kl_gaussian(p, q)) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("dim", [1, 4, 9])
def test_kl_agrees_with_torch(dim):
    p, q = random_gaussian(dim, dim), random_gaussian(dim + 50, dim)
    truth = torch.distributions.kl_divergence(
        *(torch.distributions.MultivariateNormal(g.mean, g.cov) for g in (p, q))
    )
    torch.testing.assert_close(kl_gaussian(p, q), truth, rtol=1e-10, atol=0)


def test_kl_of_a_distribution_with_itself_is_zero_in_any_dimension():
    """Mistake 7 of public code: ½ subtracted where ½·dim is due."""
    """A ½ in place of ½ dim would leave -½ (dim - 1) or so behind."""
    for dim in (1, 2, 6):
        assert float(kl_gaussian(random_gaussian(1, dim), random_gaussian(1, dim))) < 1e-20


@pytest.mark.parametrize("excess", [1e-5, -1e-7])
def test_tiny_kl_keeps_its_digits(excess):
    p, q = Gaussian(tensor([0.0]), tensor([[1 + excess]])), Gaussian(tensor([0.0]), tensor([[1.0]]))
    with mpmath.workdps(50):
        variance = mpmath.mpf(float(p.cov))
        truth = float((variance - 1 - mpmath.log(variance)) / 2)
    naive = 0.5 * (float(p.cov) - 1 - np.log(float(p.cov)))
    ours = float(kl_gaussian(p, q))
    assert ours == pytest.approx(truth, rel=1e-2)
    assert abs(ours - truth) <= abs(naive - truth) + 1e-20


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 6))
def test_kl_is_never_negative(seed_p, seed_q, dim):
    p, q = random_gaussian(seed_p, dim), random_gaussian(seed_q, dim)
    assert float(kl_gaussian(p, q)) >= 0
    assert (float(kl_gaussian(p, q)) < 1e-12) == (seed_p == seed_q)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("mean", "cov", "error", "match"),
    [
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], ValueError, "smallest eigenvalue is -1"),
        ([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], ValueError, "positive definite"),
        ([0.0, 0.0], [[1.0, 0.5], [0.1, 1.0]], ValueError, "symmetric"),
        ([0.0], [[1.0, 0.0], [0.0, 1.0]], ValueError, "cov must have shape"),
        ([[0.0]], [[1.0]], ValueError, "mean must have shape"),
        ([float("nan")], [[1.0]], ValueError, "mean must be finite"),
        ([0.0], [[float("inf")]], ValueError, "cov must be finite"),
    ],
)
def test_bad_parameters_are_refused(mean, cov, error, match):
    with pytest.raises(error, match=match):
        Gaussian(tensor(mean), tensor(cov))


@pytest.mark.bad_input
def test_bad_kinds_are_refused():
    with pytest.raises(TypeError, match="mean must be a torch"):
        Gaussian([0.0], tensor([[1.0]]))
    with pytest.raises(TypeError, match="floating-point"):
        Gaussian(torch.tensor([0]), tensor([[1.0]]))
    with pytest.raises(TypeError, match=r"one dtype.*mean is torch.float32, cov is torch.float64"):
        Gaussian(torch.tensor([0.0]), tensor([[1.0]]))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "x",
    [
        [[0.1, 2.3], [0.7, 5.9]],  # two points span a line
        [[1.0, 0.1], [2.0, 0.2], [4.0, 0.4], [5.0, 0.5]],  # dependent up to rounding
        [[0.1, 1.0], [0.1, 2.0], [0.1, 5.0]],  # constant column
    ],
)
def test_fit_refuses_a_singular_covariance(x):
    with pytest.raises(ValueError, match=rf"{len(x)} samples .*zero up to rounding.*ridge"):
        Gaussian.fit(tensor(x))


def test_fit_takes_columns_of_very_different_units():
    x = np.random.default_rng(2).normal(size=(50, 3)) * np.array([1e-9, 1.0, 1e9])
    np.testing.assert_allclose(Gaussian.fit(tensor(x)).cov, np.cov(x.T, bias=True), rtol=1e-9)


@pytest.mark.bad_input
def test_bad_data_are_refused():
    with pytest.raises(ValueError, match="x must be finite"):
        Gaussian.fit(tensor([[1.0], [float("nan")]]))
    with pytest.raises(ValueError, match="x must have shape"):
        Gaussian.fit(tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="at least one"):
        Gaussian.fit(torch.zeros(0, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"x\[:, None\]"):
        LINE.log_prob(tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="x must be finite"):
        LINE.log_prob(tensor([[float("nan")]]))
    with pytest.raises(ValueError, match="same dimension"):
        kl_gaussian(LINE, PLANE)
    with pytest.raises(ValueError, match="n must be at least 1"):
        LINE.sample(0, rng=torch.Generator())
