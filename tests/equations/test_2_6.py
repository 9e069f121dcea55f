"""Equations of section 2.6: descent, and the upper bound behind its step."""

import itertools
import math

import numpy as np
import pytest
import sympy
import torch
from scipy.optimize import minimize_scalar

GRID = np.linspace(-6, 6, 4801)


def f(theta):
    """A wavy function whose curvature lies between -2.6 and 3.8."""
    return 0.3 * theta**2 + 0.4 * theta + 0.8 * np.cos(2 * theta)


def f_prime(theta):
    return 0.6 * theta + 0.4 - 1.6 * np.sin(2 * theta)


L = 0.6 + 3.2  # the largest value of f'' = 0.6 - 3.2 cos 2θ

H = np.array([[3.0, -1.0, 0.5], [-1.0, 2.0, 0.3], [0.5, 0.3, 0.4]])


def surface(theta: torch.Tensor) -> torch.Tensor:
    """A function of three variables, neither convex nor quadratic."""
    return torch.sin(theta[0] * theta[1]) + 0.5 * theta[2] ** 2 * theta[0] + theta[1] ** 2


# A ±1 Boltzmann machine of three units, enumerated, and a distribution for it to learn.
STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
P0 = np.array([0.05, 0.25, 0.02, 0.2, 0.1, 0.08, 0.05, 0.25])
STATISTICS = np.column_stack(  # (x1, x2, x3, x1 x2, x1 x3, x2 x3) of every state
    [STATES, *(STATES[:, k] * STATES[:, m] for k, m in [(0, 1), (0, 2), (1, 2)])]
)


def divergence(theta: np.ndarray) -> float:
    exponents = STATISTICS @ theta
    log_q = exponents - math.log(np.exp(exponents).sum())
    return float(P0 @ (np.log(P0) - log_q))


def data_minus_model(theta: np.ndarray) -> np.ndarray:
    q = np.exp(STATISTICS @ theta)
    return P0 @ STATISTICS - (q / q.sum()) @ STATISTICS


THETA = np.array([0.4, -0.2, 0.1, 0.3, -0.6, 0.2])


@pytest.mark.equation("2.30")
def test_update_adds_data_minus_model_and_descends() -> None:
    step = 1e-5
    for k in range(6):
        move = step * np.eye(6)[k]
        slope = (divergence(THETA + move) - divergence(THETA - move)) / (2 * step)
        assert -slope == pytest.approx(data_minus_model(THETA)[k], abs=1e-8)
    theta, values = THETA, [divergence(THETA)]
    for _ in range(200):
        theta = theta + 0.1 * data_minus_model(theta)
        values.append(divergence(theta))
    assert (np.diff(values) < 0).all()
    assert values[-1] < 0.5 * values[0]


@pytest.mark.equation("2.31")
def test_a_short_step_never_goes_up() -> None:
    for theta0 in np.linspace(-5, 5, 41):
        for share in (0.01, 0.3, 1.0):
            theta = theta0 - share / L * f_prime(theta0)
            assert f(theta) <= f(theta0) + 1e-15


@pytest.mark.equation("2.32")
def test_small_steps_against_the_slope_go_down_at_the_expected_rate() -> None:
    """f(θ0 - η f') - f(θ0) = -η f'² + O(η²); the opposite sign goes up."""
    for theta0 in (-3.1, -0.4, 0.9, 2.7):
        for eta in (1e-4, 1e-5):
            down = f(theta0 - eta * f_prime(theta0)) - f(theta0)
            up = f(theta0 + eta * f_prime(theta0)) - f(theta0)
            assert down == pytest.approx(-eta * f_prime(theta0) ** 2, rel=20 * eta)
            assert down < 0 < up


@pytest.mark.equation("2.33")
def test_parabola_of_curvature_l_lies_above_and_a_flatter_one_does_not() -> None:
    assert max(sympy_curvatures()) == pytest.approx(L)
    for theta0 in np.linspace(-4, 4, 17):
        lid = f(theta0) + f_prime(theta0) * (GRID - theta0) + 0.5 * L * (GRID - theta0) ** 2
        assert (f(GRID) <= lid + 1e-12).all()
    flat = (
        f(np.pi / 2) + f_prime(np.pi / 2) * (GRID - np.pi / 2) + 0.45 * L * (GRID - np.pi / 2) ** 2
    )
    assert (f(GRID) > flat + 1e-6).any()


def sympy_curvatures() -> list[float]:
    """f'' where f''' vanishes: the extreme curvatures, derived symbolically."""
    t = sympy.symbols("t", real=True)
    expression = sympy.Rational(3, 10) * t**2 + sympy.Rational(2, 5) * t
    expression += sympy.Rational(4, 5) * sympy.cos(2 * t)
    stationary = sympy.solve(sympy.diff(expression, t, 3), t)
    return [float(sympy.diff(expression, t, 2).subs(t, s)) for s in stationary]


@pytest.mark.equation("2.34")
def test_completed_square_is_the_same_parabola() -> None:
    value, slope, curvature, move = sympy.symbols("f0 s L d", positive=True)
    expanded = value + slope * move + curvature * move**2 / 2
    completed = value + curvature * (move + slope / curvature) ** 2 / 2 - slope**2 / (2 * curvature)
    assert sympy.simplify(expanded - completed) == 0


@pytest.mark.equation("2.35")
def test_promised_decrease_is_kept() -> None:
    for theta0 in np.linspace(-5, 5, 101):
        promised = f(theta0) - f_prime(theta0) ** 2 / (2 * L)
        assert f(theta0 - f_prime(theta0) / L) <= promised + 1e-14
    # A parabola of curvature L keeps the promise with equality: it cannot be better.
    theta0 = 1.7
    assert 0.5 * L * (theta0 - L * theta0 / L) ** 2 == pytest.approx(
        0.5 * L * theta0**2 - (L * theta0) ** 2 / (2 * L)
    )


@pytest.mark.equation("2.36")
def test_one_over_l_is_where_the_bound_is_lowest() -> None:
    for theta0 in (-2.2, 0.3, 1.1):
        s = f_prime(theta0)
        best = minimize_scalar(
            lambda eta, s=s: -eta * s**2 + 0.5 * L * eta**2 * s**2, bounds=(0, 3), method="bounded"
        )
        assert best.x == pytest.approx(1 / L, abs=1e-5)


def surrogate(theta: np.ndarray, theta0: np.ndarray, eta: float) -> float:
    start = torch.tensor(theta0, requires_grad=True)
    value = surface(start)
    (gradient,) = torch.autograd.grad(value, start)
    move = theta - theta0
    return float(value.detach()) + gradient.numpy() @ move + 0.5 * move @ (move / eta)


THETA0 = np.array([0.3, -0.8, 1.2])


@pytest.mark.equation("2.37")
def test_surrogate_touches_and_its_minimum_is_one_descent_step() -> None:
    eta = 0.2
    assert surrogate(THETA0, THETA0, eta) == pytest.approx(float(surface(torch.tensor(THETA0))))
    step = 1e-6
    gradient = np.array(
        [
            (
                float(surface(torch.tensor(THETA0 + step * e)))
                - float(surface(torch.tensor(THETA0 - step * e)))
            )
            / (2 * step)
            for e in np.eye(3)
        ]
    )
    lowest = THETA0 - eta * gradient
    value = surrogate(lowest, THETA0, eta)
    draw = np.random.default_rng(0)
    for _ in range(50):
        assert surrogate(lowest + draw.normal(0, 0.3, 3), THETA0, eta) > value


def bowl(theta: np.ndarray) -> float:
    """A quadratic whose Hessian is H everywhere."""
    return float(0.5 * theta @ H @ theta)


def gap(theta: np.ndarray, theta0: np.ndarray, eta: float) -> float:
    """d(θ) of the quadratic bowl."""
    move = theta - theta0
    return bowl(theta) - (bowl(theta0) + (H @ theta0) @ move + 0.5 * move @ move / eta)


@pytest.mark.equation("2.38")
def test_less_of_the_surrogate_means_less_of_the_function() -> None:
    eta = 1 / np.linalg.eigvalsh(H)[-1]
    draw = np.random.default_rng(1)
    theta0 = np.array([1.0, -2.0, 0.5])
    n_lower = 0
    for _ in range(300):
        theta = theta0 + draw.normal(0, 1, 3)
        assert gap(theta, theta0, eta) <= 1e-12
        if bowl(theta) - gap(theta, theta0, eta) < bowl(theta0):
            n_lower += 1
            assert bowl(theta) < bowl(theta0)
    assert n_lower > 10


def surface_gap(theta: torch.Tensor, eta: float) -> torch.Tensor:
    """d(θ) of the surface, differentiable."""
    start = torch.tensor(THETA0, requires_grad=True)
    value = surface(start)
    (gradient,) = torch.autograd.grad(value, start)
    move = theta - torch.tensor(THETA0)
    return surface(theta) - value.detach() - gradient @ move - 0.5 * move @ move / eta


def surface_gradient(theta: torch.Tensor) -> torch.Tensor:
    """∇ of the surface, by hand."""
    a, b, c = theta
    return torch.stack(
        [
            b * torch.cos(a * b) + 0.5 * c**2,
            a * torch.cos(a * b) + 2 * b,
            a * c,
        ]
    )


@pytest.mark.equation("2.39")
def test_gradient_of_the_gap() -> None:
    eta = 0.3
    theta = torch.tensor([-0.4, 0.7, 0.2], dtype=torch.float64, requires_grad=True)
    (automatic,) = torch.autograd.grad(surface_gap(theta, eta), theta)
    start = torch.tensor(THETA0)
    by_formula = surface_gradient(theta) - surface_gradient(start) - (theta - start) / eta
    torch.testing.assert_close(automatic, by_formula.detach(), rtol=0, atol=1e-13)


@pytest.mark.equation("2.40")
def test_second_derivatives_of_the_gap() -> None:
    eta = 0.3
    theta = torch.tensor([-0.4, 0.7, 0.2], dtype=torch.float64)
    a, b, c = theta
    sine, cosine = torch.sin(a * b), torch.cos(a * b)
    hessian = torch.tensor(  # of the surface, by hand
        [
            [-(b**2) * sine, cosine - a * b * sine, c],
            [cosine - a * b * sine, 2 - a**2 * sine, 0],
            [c, 0, a],
        ],
        dtype=torch.float64,
    )
    automatic = torch.autograd.functional.hessian(lambda t: surface_gap(t, eta), theta)
    expected = hessian - torch.eye(3, dtype=torch.float64) / eta
    torch.testing.assert_close(automatic, expected, rtol=0, atol=1e-13)


@pytest.mark.equation("2.41")
def test_negative_semidefinite_everywhere_means_upper_bound() -> None:
    """Directions in which aᵀ(H - I/η)a > 0 are those in which the surrogate is crossed."""
    eta = 1 / 2.0  # between the eigenvalues of H: some directions fail
    draw = np.random.default_rng(2)
    signs = set()
    for a in draw.normal(size=(200, 3)):
        form = a @ (H - np.eye(3) / eta) @ a
        assert np.sign(gap(THETA0 + a, THETA0, eta)) == np.sign(form)
        assert gap(THETA0 + a, THETA0, eta) == pytest.approx(0.5 * form, abs=1e-10)
        signs.add(np.sign(form))
    assert signs == {-1.0, 1.0}


@pytest.mark.equation("2.42")
def test_orthogonal_matrix_diagonalises_the_hessian() -> None:
    eigenvalues, p = np.linalg.eigh(H)
    np.testing.assert_allclose(np.linalg.inv(p) @ H @ p, np.diag(eigenvalues), atol=1e-14)
    roots = np.sort(np.roots(np.poly(H)).real)  # of the characteristic polynomial
    np.testing.assert_allclose(eigenvalues, roots, rtol=1e-10)
    np.testing.assert_allclose(p.T @ p, np.eye(3), atol=1e-14)


@pytest.mark.equation("2.43")
def test_quadratic_form_falls_apart_into_eigenvalues() -> None:
    eigenvalues, p = np.linalg.eigh(H)
    draw = np.random.default_rng(3)
    for a in draw.normal(size=(20, 3)):
        b = np.linalg.solve(p, a)
        form = a @ (H - np.eye(3) / 0.4) @ a
        assert form == pytest.approx(((eigenvalues - 1 / 0.4) * b**2).sum(), abs=1e-12)


@pytest.mark.equation("2.44")
def test_step_up_to_one_over_the_largest_eigenvalue() -> None:
    """At the limit no direction crosses the surrogate; a little beyond, the eigenvector does."""
    eigenvalues, p = np.linalg.eigh(H)
    limit = 1 / eigenvalues[-1]
    draw = np.random.default_rng(4)
    for a in draw.normal(size=(500, 3)):
        assert gap(THETA0 + a, THETA0, limit) <= 1e-12
    assert gap(THETA0 + p[:, -1], THETA0, 1.001 * limit) > 1e-4
