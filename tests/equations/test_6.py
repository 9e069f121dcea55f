"""Equations of chapter 6's opening: exchange Monte Carlo."""

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfc, erfinv
from scipy.stats import binom, norm

SPINS = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
BETAS = (0.2, 0.7, 1.3)


def energy(x: np.ndarray) -> np.ndarray:
    pairs = 0.8 * x[:, 0] * x[:, 1] - 1.1 * x[:, 1] * x[:, 2] + 0.3 * x[:, 0] * x[:, 2]
    return -(pairs + x @ np.array([0.4, -0.7, 0.2]))


E = energy(SPINS)
W = np.array([[1.2, -0.7], [0.4, 2.0], [-1.5, 0.3]])  # an RBM with 3 visible and 2 hidden spins
B, C = np.array([0.3, -0.5, 0.1]), np.array([-0.8, 0.6])
HIDDEN = np.array(list(itertools.product([-1.0, 1.0], repeat=2)))
JOINT = -(SPINS @ W @ HIDDEN.T + (SPINS @ B)[:, None] + HIDDEN @ C)  # E(x, z)


def free_energy(beta: float) -> np.ndarray:
    return -np.log(np.exp(-beta * JOINT).sum(1))


def product(F: list[np.ndarray]) -> np.ndarray:
    """The product distribution, summed over all joint states and divided by that sum."""
    weights = np.array(
        [
            math.exp(-sum(f[i] for f, i in zip(F, state, strict=True)))
            for state in itertools.product(range(8), repeat=len(F))
        ]
    )
    return (weights / weights.sum()).reshape((8,) * len(F))


@pytest.mark.equation("6.1")
def test_temperatures_are_independent_and_the_partition_functions_multiply() -> None:
    joint = product([beta * E for beta in BETAS])
    weights = [np.exp(-beta * E) for beta in BETAS]
    total = sum(
        math.exp(-sum(b * E[i] for b, i in zip(BETAS, state, strict=True)))
        for state in itertools.product(range(8), repeat=3)
    )
    assert total == pytest.approx(math.prod(w.sum() for w in weights), rel=1e-12)
    for k, others in enumerate([(1, 2), (0, 2), (0, 1)]):
        assert np.allclose(joint.sum(others), weights[k] / weights[k].sum(), rtol=1e-12)


def balance_gap(P: np.ndarray, accept: np.ndarray) -> float:
    """How far P(x1, x2) A(x2, x1 | x1, x2) is from symmetric under the exchange."""
    flow = P * accept
    return float(np.abs(flow - flow.T).max())


@pytest.mark.equation("6.2")
def test_acceptance_of_an_exchange_is_the_ratio_and_balances() -> None:
    hot, cold = BETAS[0], BETAS[2]
    P = product([hot * E, cold * E])  # [x1, x2]
    exponent = -(hot - cold) * (E[None, :] - E[:, None])  # E(x2) - E(x1)
    assert np.allclose(np.log(P.T / P), exponent, atol=1e-12)
    accept = np.minimum(1, np.exp(exponent))
    assert balance_gap(P, accept) < 1e-15
    assert balance_gap(P, np.minimum(1, np.exp(-exponent))) > 1e-3  # the sign matters
    lower_at_hot = E[:, None] < E[None, :]
    assert (accept[lower_at_hot] == 1).all()
    assert (accept[lower_at_hot.T] < 1).all()


@pytest.mark.equation("6.3")
def test_acceptance_with_hidden_units_is_the_work_at_both_ends() -> None:
    hot, cold = BETAS[0], BETAS[2]
    at_hot, at_cold = free_energy(hot), free_energy(cold)
    P = product([at_hot, at_cold])
    work = at_cold - at_hot
    delta = work[:, None] - work[None, :]
    assert np.allclose(P.T / P, np.exp(-delta), rtol=1e-12)
    assert balance_gap(P, np.minimum(1, np.exp(-delta))) < 1e-15
    marginal = (cold - hot) * (free_energy(1.0)[:, None] - free_energy(1.0)[None, :])
    assert balance_gap(P, np.minimum(1, np.exp(-marginal))) > 1e-3
    # Without hidden units it is (6.2).
    assert np.allclose(
        (cold - hot) * (E[:, None] - E[None, :]),
        (cold * E - hot * E)[:, None] - (cold * E - hot * E)[None, :],
    )


@pytest.mark.equation("6.4")
@pytest.mark.parametrize("levels", [E, np.round(E), np.array([0.0, 0, 0, 1, 1, 5, 5, 5])])
def test_mean_acceptance_is_twice_the_chance_that_the_hot_one_is_lower(levels: np.ndarray) -> None:
    hot, cold = BETAS[1], BETAS[2]
    P = product([hot * levels, cold * levels])
    delta = (cold - hot) * (levels[:, None] - levels[None, :])
    mean = (P * np.minimum(1, np.exp(-delta))).sum()
    lower, equal = levels[:, None] < levels[None, :], levels[:, None] == levels[None, :]
    assert mean == pytest.approx(2 * P[lower].sum() + P[equal].sum(), rel=1e-12)


@pytest.mark.equation("6.5")
def test_lengths_add_up_for_gaussian_energies() -> None:
    sigma = 3.0
    for step in (0.1, 0.4, 1.0):  # β' - β; the mean energy falls by step σ²

        def accepted(gap: float, step: float = step) -> float:
            density = norm.pdf(gap, step * sigma**2, sigma * math.sqrt(2))
            return min(1.0, math.exp(-step * gap)) * density

        mean = quad(accepted, -30, 0)[0] + quad(accepted, 0, 40)[0]
        assert mean == pytest.approx(erfc(step * sigma / 2), rel=1e-7)
        assert erfinv(1 - mean) == pytest.approx(step * sigma / 2, rel=1e-6)


@pytest.mark.equation("6.5")
@pytest.mark.parametrize(
    "betas", [np.linspace(0, 1.5, 17), np.linspace(0, 1.5**0.5, 13) ** 2, np.linspace(0, 1.5, 40)]
)
def test_length_of_a_ladder_does_not_depend_on_its_steps(betas: np.ndarray) -> None:
    # Independent spins in a field of one: the number that is up is binomial, E = n - 2 up.
    n = 400
    up = np.arange(n + 1)
    length = 0.0
    for hot, cold in itertools.pairwise(betas):
        p, q = (binom.pmf(up, n, 1 / (1 + np.exp(-2 * beta))) for beta in (hot, cold))
        delta = (cold - hot) * 2 * (up[None, :] - up[:, None])
        accepted = (np.outer(p, q) * np.exp(-np.maximum(delta, 0))).sum()
        length += erfinv(1 - accepted)
    expected = quad(lambda beta: math.sqrt(n) / math.cosh(beta), 0, 1.5)[0] / 2
    assert length == pytest.approx(expected, rel=0.03)
    assert expected == pytest.approx(math.sqrt(n / 100) * 0.5 * 10 * math.atan(math.sinh(1.5)))


def rate_of_round_trips(r: np.ndarray, by_turns: bool) -> float:
    """Stationary flow of walkers that carry the mark of the hot end into the cold end.

    The walk of one walker over (level, parity of the next exchange, mark); all walkers together
    are as many as there are levels.
    """
    n = len(r) + 1
    index = {s: i for i, s in enumerate(itertools.product(range(n), (0, 1), (0, 1)))}
    w = np.zeros((len(index), len(index)))
    passage = np.zeros_like(w)
    for (level, parity, mark), i in index.items():
        partner = level + 1 if level % 2 == parity else level - 1
        moves = [(level, 1.0)]
        if 0 <= partner < n:
            refused = r[min(level, partner)]
            moves = [(level, refused), (partner, 1 - refused)]
        for to, chance in moves:
            new = 1 if to == 0 else 0 if to == n - 1 else mark
            parities = [1 - parity] if by_turns else [0, 1]
            for following in parities:
                j = index[to, following, new]
                w[j, i] += chance / len(parities)
                passage[j, i] += chance / len(parities) * (mark == 1 and new == 0)
    equations = np.vstack([w - np.eye(len(w)), np.ones(len(w))])
    stationary = np.linalg.lstsq(equations, np.append(np.zeros(len(w)), 1.0), rcond=None)[0]
    return float(n * (passage @ stationary).sum())


@pytest.mark.equation("6.6")
@pytest.mark.parametrize("r", [[0.0, 0.0, 0.0], [0.3], [0.2, 0.7, 0.5, 0.1], [0.6] * 7])
def test_rate_of_round_trips_of_walkers_that_forget(r: list[float]) -> None:
    r = np.array(r)
    ratio = (r / (1 - r)).sum()
    assert rate_of_round_trips(r, by_turns=True) == pytest.approx(1 / (2 + 2 * ratio), rel=1e-9)
    # Pairs drawn by a coin: the dotted line of the figure, and exercise 6-3 for r = 0.
    at_random = rate_of_round_trips(r, by_turns=False)
    assert at_random == pytest.approx(1 / (2 * len(r) + 2 * ratio), rel=1e-9)


@pytest.mark.equation("6.7")
def test_integral_of_the_mean_energy_is_the_free_energy() -> None:
    def mean_energy(beta: float) -> float:
        weights = np.exp(-beta * JOINT)
        return float((weights * JOINT).sum() / weights.sum())

    def mean_slope(beta: float, step: float = 1e-5) -> float:
        q = np.exp(-free_energy(beta))
        slope = (free_energy(beta + step) - free_energy(beta - step)) / (2 * step)
        return float(q @ slope / q.sum())

    for start, end in [(0.0, 1.0), (0.4, 2.5)]:
        exact = math.log(np.exp(-end * JOINT).sum() / np.exp(-start * JOINT).sum())
        assert -quad(mean_energy, start, end)[0] == pytest.approx(exact, abs=1e-9)
        assert -quad(mean_slope, start, end)[0] == pytest.approx(exact, abs=1e-6)
    assert math.log(np.exp(-0 * JOINT).sum()) == pytest.approx(5 * math.log(2))
