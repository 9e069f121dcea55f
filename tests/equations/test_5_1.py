"""Section 5.1: the master equation on small chains, in exact fractions where possible."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import sympy
import torch

from lecture_pkg.models import BoltzmannMachine
from lecture_pkg.sampling import HeatBath, Metropolis

# The two spins of the text, (−,−), (−,+), (+,−), (+,+): columns are the present states.
W = [
    [Fraction(1, 4), Fraction(1, 2), Fraction(1, 3), Fraction(0)],
    [Fraction(1, 4), Fraction(0), Fraction(0), Fraction(1, 12)],
    [Fraction(1, 2), Fraction(0), Fraction(1, 6), Fraction(1, 4)],
    [Fraction(0), Fraction(1, 2), Fraction(1, 2), Fraction(2, 3)],
]
TARGET = [Fraction(2, 12), Fraction(1, 12), Fraction(3, 12), Fraction(6, 12)]


def apply(matrix, p):
    return [sum(row[k] * p[k] for k in range(len(p))) for row in matrix]


def as_array(matrix):
    return np.array([[float(v) for v in row] for row in matrix])


def random_chain(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A stochastic matrix without any symmetry, and its stationary distribution."""
    w = np.random.default_rng(seed).dirichlet(np.full(n, 0.3), size=n).T
    values, vectors = np.linalg.eig(w)
    p = vectors[:, np.abs(values - 1).argmin()].real
    return w, p / p.sum()


def divergence(p, q) -> float:
    shown = p > 0
    return float((p[shown] * np.log(p[shown] / q[shown])).sum())


@pytest.mark.equation("5.7")
def test_the_master_equation_adds_up_all_paths() -> None:
    """P_3 by summing over every path of three steps, against three products."""
    p = [Fraction(1, 7), Fraction(2, 7), Fraction(0), Fraction(4, 7)]
    by_paths = [Fraction(0)] * 4
    for path in itertools.product(range(4), repeat=4):
        weight = p[path[0]]
        for before, after in itertools.pairwise(path):
            weight *= W[after][before]
        by_paths[path[-1]] += weight
    for _ in range(3):
        p = apply(W, p)
    assert p == by_paths


@pytest.mark.equation("5.7")
def test_frequencies_of_walkers_follow_the_master_equation() -> None:
    """The kernel's walkers, two hundred thousand, against its matrix."""
    J = torch.tensor([[0.0, 0.7, -0.3], [0.7, 0.0, 0.4], [-0.3, 0.4, 0.0]], dtype=torch.float64)
    h = torch.tensor([0.2, -0.5, 0.1], dtype=torch.float64)
    kernel = HeatBath(BoltzmannMachine(J, h))
    start = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64).expand(200_000, 3)
    x = kernel.sweep(start, rng=torch.Generator().manual_seed(51))
    index = ((x > 0).long() * torch.tensor([4, 2, 1])).sum(1)
    found = torch.bincount(index, minlength=8) / len(x)
    expected = kernel.transition_matrix()[:, 5]
    # Standard error below 0.0012 for each of eight shares; six of them.
    assert float((found - expected).abs().max()) < 0.007


@pytest.mark.equation("5.8")
def test_columns_that_sum_to_one_keep_probability_and_no_others_do() -> None:
    assert [sum(column) for column in zip(*W, strict=True)] == [1, 1, 1, 1]
    p = [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6), Fraction(0)]
    assert sum(apply(W, p)) == 1
    rows = [list(column) for column in zip(*W, strict=True)]  # rows sum to one instead
    assert sum(apply(rows, p)) != 1


@pytest.mark.equation("5.9")
def test_balance_of_the_two_spins_by_hand_and_as_flows() -> None:
    assert apply(W, TARGET) == TARGET
    for x in range(4):
        others = [y for y in range(4) if y != x]
        leaving = sum(W[y][x] * TARGET[x] for y in others)
        entering = sum(W[x][y] * TARGET[y] for y in others)
        assert leaving == entering
    # The heat bath of exercise 5-1-1 balances the same distribution.
    F = Fraction
    heat_bath = [
        [F(2, 5) + F(2, 3), F(2, 3), F(2, 5), F(0)],
        [F(1, 3), F(1, 7) + F(1, 3), F(0), F(1, 7)],
        [F(3, 5), F(0), F(3, 5) + F(1, 3), F(1, 3)],
        [F(0), F(6, 7), F(2, 3), F(6, 7) + F(2, 3)],
    ]
    heat_bath = [[v / 2 for v in row] for row in heat_bath]
    assert apply(heat_bath, TARGET) == TARGET
    assert [sum(column) for column in zip(*heat_bath, strict=True)] == [1, 1, 1, 1]

    J = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64) * np.log(2) / 2
    h = torch.tensor([np.log(3) / 2, 0.0], dtype=torch.float64)
    for kernel, matrix in ((Metropolis, W), (HeatBath, heat_bath)):
        sweep = kernel(BoltzmannMachine(J, h), scan="random").transition_matrix().numpy()
        np.testing.assert_allclose(sweep, as_array(matrix) @ as_array(matrix), atol=1e-14)


@pytest.mark.equation("5.10")
def test_the_spectral_expansion_and_the_rate() -> None:
    """Exact eigenvectors of the fractions; then the rate of a chain without symmetry."""
    w = sympy.Matrix(4, 4, lambda i, j: sympy.Rational(W[i][j].numerator, W[i][j].denominator))
    assert (w - sympy.eye(4)).rank() == 3  # the eigenvalue one is simple
    values, vectors = np.linalg.eig(as_array(W))
    order = np.abs(values).argsort()[::-1]
    values, vectors = values[order], vectors[:, order]
    np.testing.assert_allclose(vectors[:, 1:].sum(0), 0, atol=1e-12)
    start = np.array([1.0, 0, 0, 0])
    coefficients = np.linalg.solve(vectors, start)
    target = np.array([float(v) for v in TARGET])
    np.testing.assert_allclose(coefficients[0] * vectors[:, 0], target, atol=1e-12)
    p = start
    for t in range(1, 8):
        p = as_array(W) @ p
        series = target + vectors[:, 1:] @ (coefficients[1:] * values[1:] ** t)
        np.testing.assert_allclose(p, series.real, atol=1e-12)

    w, target = random_chain(6, 3)
    second = np.sort(np.abs(np.linalg.eigvals(w)))[-2]
    p, distances = np.eye(6)[0], []
    for _ in range(60):
        distances.append(0.5 * np.abs(p - target).sum())
        p = w @ p
    distances = np.array(distances)
    scaled = distances[5:] / second ** np.arange(5, 60)
    assert scaled.max() < 5 * max(scaled[0], scaled[-1])  # |λ₂|^t up to a bounded factor
    slope = np.log(distances[50] / distances[10]) / 40
    assert -1 / slope == pytest.approx(-1 / np.log(second), rel=0.1)


@pytest.mark.equation("5.11")
def test_the_divergence_never_increases_for_any_balanced_chain() -> None:
    generator = np.random.default_rng(6)
    for seed in range(200):
        w, target = random_chain(5, seed)
        np.testing.assert_allclose(w @ target, target, atol=1e-12)
        if target.min() < 1e-9:
            continue
        p = generator.dirichlet(np.full(5, 0.2))
        for _ in range(4):
            after = w @ p
            assert divergence(after, target) <= divergence(p, target) + 1e-12
            # The gap is the mean divergence of the reversed steps, as the proof says.
            joint_p, joint_target = w * p, w * target
            reversed_gap = sum(
                after[x] * divergence(joint_p[x] / after[x], joint_target[x] / target[x])
                for x in range(5)
                if after[x] > 1e-12
            )
            gap = divergence(p, target) - divergence(after, target)
            assert gap == pytest.approx(reversed_gap, abs=1e-9)
            p = after


@pytest.mark.equation("5.11")
def test_the_divergence_can_increase_towards_another_distribution() -> None:
    """The claim is about the stationary distribution: towards others it fails."""
    target = np.array([float(v) for v in TARGET])
    elsewhere = np.array([0.7, 0.1, 0.1, 0.1])
    assert divergence(as_array(W) @ elsewhere, elsewhere) > divergence(elsewhere, elsewhere)
    assert divergence(as_array(W) @ elsewhere, target) < divergence(elsewhere, target)


@pytest.mark.equation("5.12")
def test_the_continuous_equation_is_the_limit_of_short_steps() -> None:
    rates = np.random.default_rng(7).exponential(size=(5, 5)) * 3  # rates above one are allowed
    np.fill_diagonal(rates, 0)
    p0 = np.array([0.1, 0.5, 0.0, 0.15, 0.25])

    def flow(p):
        inward = [sum(rates[x, y] * p[y] for y in range(5) if y != x) for x in range(5)]
        outward = [sum(rates[y, x] * p[x] for y in range(5) if y != x) for x in range(5)]
        return np.array(inward) - np.array(outward)

    solution = scipy.integrate.solve_ivp(
        lambda t, p: flow(p), (0, 0.7), p0, rtol=1e-10, atol=1e-12
    ).y[:, -1]
    assert solution.sum() == pytest.approx(1, abs=1e-10)
    generator = rates - np.diag(rates.sum(0))
    np.testing.assert_allclose(scipy.linalg.expm(0.7 * generator) @ p0, solution, atol=1e-8)
    errors = []
    for n in (1000, 2000, 4000):
        step = np.eye(5) + 0.7 / n * generator  # w of one short step: columns sum to one
        np.testing.assert_allclose(step.sum(0), 1, atol=1e-14)
        errors.append(np.abs(np.linalg.matrix_power(step, n) @ p0 - solution).max())
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.02)
