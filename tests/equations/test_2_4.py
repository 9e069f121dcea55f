"""Equations of section 2.4: the Gaussian in N dimensions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from scipy.integrate import dblquad, quad
from scipy.stats import multivariate_normal

from lecture_pkg.models.gaussian import Gaussian

MEAN = np.array([0.7, -1.2, 2.0])
COV = np.array([[2.0, -0.9, 0.3], [-0.9, 1.1, 0.2], [0.3, 0.2, 0.6]])
MEAN_2, COV_2 = MEAN[:2], COV[:2, :2]


@pytest.fixture
def data(rng: torch.Generator) -> np.ndarray:
    """Skewed points in three dimensions, more of them than dimensions."""
    noise = torch.rand(11, 3, generator=rng, dtype=torch.float64).log()
    return noise.numpy() @ np.array([[1.0, 0.4, 0.0], [-0.7, 1.0, 0.2], [0.0, 0.5, 2.0]])


def weight(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """exp(-½ (x-μ)ᵀ Σ⁻¹ (x-μ)), the inverse taken as it stands on paper."""
    difference = x - mean
    return np.exp(-0.5 * np.einsum("...i,ij,...j->...", difference, np.linalg.inv(cov), difference))


def integral_on_a_grid(mean: np.ndarray, cov: np.ndarray, points: int = 81) -> float:
    """The trapezoidal sum in three dimensions; for smooth decaying functions as good as exact."""
    half_width = 8 * np.sqrt(np.diag(cov))
    axes = [
        np.linspace(m - w, m + w, points, endpoint=False)
        for m, w in zip(mean, half_width, strict=True)
    ]
    cell = np.prod(2 * half_width / points)
    return float(weight(np.stack(np.meshgrid(*axes, indexing="ij"), -1), mean, cov).sum() * cell)


@pytest.mark.equation("2.15")
def test_weight_is_proportional_to_the_density(data: np.ndarray) -> None:
    ratios = weight(data, MEAN, COV * 9) / multivariate_normal(MEAN, COV * 9).pdf(data)
    assert np.ptp(ratios) < 1e-11 * ratios[0]


@pytest.mark.equation("2.16")
def test_partition_function_by_quadrature() -> None:
    def integrand(second: float, first: float) -> float:
        return float(weight(np.array([first, second]), MEAN_2, COV_2))

    integral, _ = dblquad(integrand, -12, 12, -12, 12, epsabs=1e-9)
    peak = multivariate_normal(MEAN_2, COV_2).pdf(MEAN_2)  # the density where the weight is one
    assert integral == pytest.approx(1 / peak, rel=1e-8)


@pytest.mark.equation("2.17")
def test_orthogonal_matrix_diagonalises_and_separates_the_energy(data: np.ndarray) -> None:
    precision = np.linalg.inv(COV)
    eigenvalues, p = np.linalg.eigh(precision)
    np.testing.assert_allclose(p.T, np.linalg.inv(p), atol=1e-14)
    np.testing.assert_allclose(np.linalg.inv(p) @ precision @ p, np.diag(eigenvalues), atol=1e-12)
    # The λ are the roots of the characteristic polynomial.
    roots = np.roots(np.poly(precision)).real
    np.testing.assert_allclose(np.sort(roots), eigenvalues, rtol=1e-9)
    y = (data - MEAN) @ p  # rows are Pᵀ (x - μ)
    np.testing.assert_allclose(
        (eigenvalues * y**2).sum(1), -2 * np.log(weight(data, MEAN, COV)), rtol=1e-10
    )


@pytest.mark.equation("2.18")
def test_integral_factorises_along_the_eigenvectors() -> None:
    eigenvalues, p = np.linalg.eigh(np.linalg.inv(COV))
    assert abs(abs(np.linalg.det(p)) - 1) < 1e-13  # the Jacobian of the rotation
    factors = [quad(lambda y, k=k: math.exp(-0.5 * k * y**2), -40, 40)[0] for k in eigenvalues]
    np.testing.assert_allclose(factors, np.sqrt(2 * np.pi / eigenvalues), rtol=1e-9)
    assert math.prod(factors) == pytest.approx(integral_on_a_grid(MEAN, COV), rel=1e-8)


@pytest.mark.equation("2.19")
def test_product_of_eigenvalues_is_the_inverse_determinant_exactly() -> None:
    sigma = sympy.Matrix([[2, -1], [-1, 3]])
    eigenvalues = [value for value, times in sigma.inv().eigenvals().items() for _ in range(times)]
    assert sympy.simplify(sympy.prod(eigenvalues) - sympy.Rational(1, 5)) == 0
    assert sigma.inv().det() == sympy.Rational(1, 5)
    assert sigma.det() == 5


@pytest.mark.equation("2.19")
def test_product_of_eigenvalues_is_the_inverse_determinant_numerically() -> None:
    rows = [[Fraction(str(value)) for value in row] for row in COV]
    (a, b, c), (d, e, f), (g, h, i) = rows
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    product = np.prod(np.linalg.eigvalsh(np.linalg.inv(COV)))
    assert product == pytest.approx(1 / float(determinant), rel=1e-12)


@pytest.mark.equation("2.20")
def test_closed_form_of_the_partition_function() -> None:
    integral = integral_on_a_grid(MEAN, COV)
    assert math.sqrt((2 * math.pi) ** 3 * np.linalg.det(COV)) == pytest.approx(integral, rel=1e-8)
    gaussian = Gaussian(torch.from_numpy(MEAN), torch.from_numpy(COV))
    assert float(gaussian.log_partition()) == pytest.approx(math.log(integral), rel=1e-8)


@pytest.mark.equation("2.21")
def test_density_against_another_library(data: np.ndarray) -> None:
    constant = 1 / math.sqrt((2 * math.pi) ** 3 * np.linalg.det(COV))
    expected = multivariate_normal(MEAN, COV).logpdf(data)
    near = expected > -600  # farther out the weight on paper underflows
    assert near.sum() >= 5
    np.testing.assert_allclose(constant * weight(data, MEAN, COV)[near], np.exp(expected[near]))
    gaussian = Gaussian(torch.from_numpy(MEAN), torch.from_numpy(COV))
    np.testing.assert_allclose(gaussian.log_prob(torch.from_numpy(data)), expected, rtol=1e-11)


@pytest.mark.equation("2.22")
def test_objective_is_the_mean_surprise_up_to_a_constant(data: np.ndarray) -> None:
    for scale in (1.0, 4.0):
        difference = data - MEAN
        energy = np.einsum("ni,ij,nj->n", difference, np.linalg.inv(scale * COV), difference) / 2
        objective = energy.mean() + 0.5 * np.log(np.linalg.det(scale * COV))
        surprise = -multivariate_normal(MEAN, scale * COV).logpdf(data).mean()
        assert surprise - objective == pytest.approx(1.5 * math.log(2 * math.pi), rel=1e-11)


def surprise_gradient(
    data: np.ndarray, mean: np.ndarray, precision: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """∂/∂μ and ∂/∂Σ⁻¹ of the mean surprise by automatic differentiation, all N² entries free."""
    x = torch.from_numpy(data)
    mean_t = torch.tensor(mean, requires_grad=True)
    precision_t = torch.tensor(precision, requires_grad=True)
    quadratic = torch.einsum("ni,ij,nj->n", x - mean_t, precision_t, x - mean_t)
    (quadratic.mean() / 2 - torch.linalg.slogdet(precision_t).logabsdet / 2).backward()
    assert mean_t.grad is not None
    assert precision_t.grad is not None
    return mean_t.grad.numpy(), precision_t.grad.numpy()


@pytest.mark.equation("2.23")
def test_gradient_in_the_mean(data: np.ndarray) -> None:
    precision = np.linalg.inv(COV)
    printed = -((data - MEAN) @ precision).mean(0)
    np.testing.assert_allclose(
        printed, surprise_gradient(data, MEAN, precision)[0], rtol=1e-11, atol=1e-13
    )
    at_the_mean = surprise_gradient(data, data.mean(0), precision)[0]
    np.testing.assert_allclose(at_the_mean, 0, atol=1e-12)
    np.testing.assert_allclose(Gaussian.fit(torch.from_numpy(data)).mean, data.mean(0), rtol=1e-12)


@pytest.mark.equation("2.24")
def test_gradient_in_the_precision(data: np.ndarray) -> None:
    difference = data - MEAN
    printed = difference.T @ difference / (2 * len(data)) - COV / 2
    np.testing.assert_allclose(
        printed, surprise_gradient(data, MEAN, np.linalg.inv(COV))[1], rtol=1e-10, atol=1e-12
    )


@pytest.mark.equation("2.24")
def test_gradient_vanishes_at_the_covariance_that_divides_by_n(data: np.ndarray) -> None:
    by_n = np.cov(data.T, bias=True)
    at_the_fit = surprise_gradient(data, data.mean(0), np.linalg.inv(by_n))[1]
    np.testing.assert_allclose(at_the_fit, 0, atol=1e-11)
    by_n_minus_one = np.cov(data.T)
    off = surprise_gradient(data, data.mean(0), np.linalg.inv(by_n_minus_one))[1]
    assert np.abs(off).max() > 1e-2
    np.testing.assert_allclose(Gaussian.fit(torch.from_numpy(data)).cov, by_n, rtol=1e-11)
