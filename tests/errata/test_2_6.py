"""Corrections of section 2.6 of the lecture notes (the sign also of the slides)."""

import math

import numpy as np
import pytest


@pytest.mark.erratum("2-30")
def test_printed_sign_climbs() -> None:
    """Printed: h' = h - η (data - model). One ±1 unit: D = ln 2cosh h - m h + constant."""
    m, eta = 0.6, 0.1

    def divergence(h: float) -> float:
        q = math.exp(h) / (2 * math.cosh(h))
        p = (1 + m) / 2
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    printed, right = [0.0], [0.0]
    for _ in range(20):
        printed.append(printed[-1] - eta * (m - math.tanh(printed[-1])))
        right.append(right[-1] + eta * (m - math.tanh(right[-1])))
    assert (np.diff([divergence(h) for h in printed]) > 0).all()
    assert (np.diff([divergence(h) for h in right]) < 0).all()


@pytest.mark.erratum("2-33")
def test_bound_needs_the_curvature_everywhere() -> None:
    """Printed: "L is a large enough positive value". Large at θ0 is not enough: f = θ⁴."""
    theta0 = 1.0
    L = 2 * 12 * theta0**2  # twice the curvature at θ0
    theta = 4.0
    lid = theta0**4 + 4 * theta0**3 * (theta - theta0) + 0.5 * L * (theta - theta0) ** 2
    assert theta**4 > lid
    largest = 12 * theta**2  # over the whole way from θ0 to θ
    way = np.linspace(theta0, theta, 200)
    lids = theta0**4 + 4 * theta0**3 * (way - theta0) + 0.5 * largest * (way - theta0) ** 2
    assert (way**4 <= lids + 1e-12).all()


@pytest.mark.erratum("2-38")
def test_componentwise_sign_of_the_gradient_is_neither_needed_nor_enough() -> None:
    """Printed: d(θ0) = 0 and ∇d ≤ 0 in every component give d ≤ 0, and (2.41) gives ∇d ≤ 0."""
    theta = np.linspace(-2, 2, 401)
    # Concave with d(0) = d'(0) = 0: (2.41) holds, d ≤ 0 holds, but ∇d changes its sign.
    concave, slope_of_concave = -(theta**2), -2 * theta
    assert (concave <= 0).all()
    assert (slope_of_concave > 0).any()
    # d' ≤ 0 everywhere and d(0) = d'(0) = 0, but d > 0 to the left of θ0.
    cubic, slope_of_cubic = -(theta**3), -3 * theta**2
    assert (slope_of_cubic <= 0).all()
    assert (cubic > 0).any()


@pytest.mark.erratum("2-43")
def test_sum_runs_over_all_eigenvalues() -> None:
    """Printed: Σ_{i=k}^{n}. The form needs all N terms, k from 1."""
    eigenvalues = np.array([3.0, 1.0, 0.2])
    b = np.array([1.0, -2.0, 0.5])
    form = b @ (np.diag(eigenvalues) - np.eye(3) / 0.5) @ b
    terms = (eigenvalues - 1 / 0.5) * b**2
    assert form == pytest.approx(terms.sum())
    assert abs(form - terms[1:].sum()) > 0.5
    assert abs(form - terms[2:].sum()) > 0.5


@pytest.mark.erratum("2-44")
def test_largest_eigenvalue_must_be_taken_over_all_places() -> None:
    """Printed: η ≤ 1/max_k λ_k, the Hessian being the one at hand. f = ln 2cosh θ, f'' ≤ 1."""

    def f(theta: float) -> float:
        return float(np.logaddexp(theta, -theta))

    theta0 = 3.0
    curvature_here = 1 - math.tanh(theta0) ** 2
    assert 0 < curvature_here < 0.01
    reached = {
        name: f(theta0 - eta * math.tanh(theta0))
        for name, eta in {"printed": 1 / curvature_here, "right": 1.0}.items()
    }
    assert reached["printed"] > 10 * f(theta0)
    assert reached["right"] < f(theta0)
