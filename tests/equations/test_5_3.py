"""Section 5.3: currents, asymptotic variance, circulation, the rotation of Suwa and Todo."""

import numpy as np
import pytest
import torch

from lecture_pkg.sampling.suwa_todo import landfill_matrix, rotate


def random_chain(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A chain without symmetry, and its stationary distribution."""
    w = np.random.default_rng(seed).dirichlet(np.full(n, 0.4), size=n).T
    return w, np.linalg.matrix_power(w, 5000)[:, 0]


def summed_variance(w: np.ndarray, p: np.ndarray, f: np.ndarray, steps: int = 20_000) -> float:
    """The asymptotic variance as it is defined: the sum of the autocovariances at all times."""
    centred = f - p @ f
    moved = p * centred
    total = centred @ moved
    for _ in range(steps):
        moved = w @ moved
        total += 2 * centred @ moved
    return float(total)


def mean_zero_basis(p: np.ndarray) -> np.ndarray:
    """Columns that span the functions of mean zero."""
    return np.linalg.svd(p[None])[2][1:].T


def solved_variance(w: np.ndarray, p: np.ndarray, f: np.ndarray) -> float:
    """Equation (5.21), solved in coordinates of the functions of mean zero."""
    centred = f - p @ f
    basis = mean_zero_basis(p)
    K = np.eye(len(p)) - w.T
    g = basis @ np.linalg.lstsq(K @ basis, centred, rcond=None)[0]
    return float(2 * (p * centred) @ g - (p * centred) @ centred)


def symmetric_part(w: np.ndarray, p: np.ndarray) -> np.ndarray:
    flow = w * p
    return (flow + flow.T) / 2 / p


@pytest.mark.equation("5.20")
def test_currents_add_up_to_zero_in_every_state_and_vanish_for_two() -> None:
    w, p = random_chain(5, 0)
    j = w * p - (w * p).T
    assert np.abs(j.sum(1)).max() < 1e-14
    assert np.abs(j).max() > 1e-2
    moved = p + 0.01 * np.array([1, -1, 0, 0, 0])
    assert np.abs((w * moved - (w * moved).T).sum(1)).max() > 1e-4  # not stationary: not zero
    for seed in range(20):
        w, p = random_chain(2, seed)
        assert np.abs(w * p - (w * p).T).max() < 1e-14


@pytest.mark.equation("5.21")
def test_the_poisson_equation_sums_all_correlations() -> None:
    for seed in range(4):
        w, p = random_chain(5, 10 + seed)
        f = np.random.default_rng(seed).normal(size=5)
        exact = summed_variance(w, p, f)
        assert abs(solved_variance(w, p, f) - exact) < 1e-9 * abs(exact)


@pytest.mark.equation("5.21")
def test_it_is_the_limit_of_t_times_the_variance_of_the_mean() -> None:
    """Var of the mean of T steps, exactly, as a double sum over the times of the steps."""
    w, p = random_chain(4, 20)
    f = np.array([1.0, -0.5, 2.0, 0.0])
    centred = f - p @ f
    T = 4000
    covariances = np.empty(T)
    moved = p * centred
    for t in range(T):
        covariances[t] = centred @ moved
        moved = w @ moved
    shares = 1 - np.arange(1, T) / T
    scaled = covariances[0] + 2 * shares @ covariances[1:]
    exact = solved_variance(w, p, f)
    assert abs(scaled - exact) < 20 / T * abs(exact)


@pytest.mark.equation("5.22")
def test_a_circulation_never_adds_to_the_asymptotic_variance() -> None:
    strict = 0
    for seed in range(200):
        w, p = random_chain(6, 1000 + seed)
        f = np.random.default_rng(seed).normal(size=6)
        with_current = solved_variance(w, p, f)
        without = solved_variance(symmetric_part(w, p), p, f)
        assert with_current <= without + 1e-9 * without
        strict += with_current < without - 1e-6 * without
    assert strict > 190


@pytest.mark.equation("5.22")
def test_it_is_equal_just_where_the_current_carries_the_solution_nowhere() -> None:
    w, p = random_chain(6, 30)
    symmetric, j = symmetric_part(w, p), w * p - (w * p).T
    # an antisymmetric matrix has an even rank; with the constants, j of six states loses two
    null = np.linalg.svd(j)[2][4:]
    g = null.T @ np.linalg.solve(null @ null.T, np.array([1.0, -0.3]))
    assert np.abs(g @ j).max() < 1e-13
    assert np.abs(g - g.mean()).max() > 0.1
    f = (np.eye(6) - symmetric.T) @ g
    without = solved_variance(symmetric, p, f)
    assert without > 1e-3
    assert abs(solved_variance(w, p, f) - without) < 1e-11
    g = g + np.array([0.1, 0, 0, 0, 0, 0])  # carried elsewhere: strictly less
    f = (np.eye(6) - symmetric.T) @ g
    assert np.abs(g @ j).max() > 1e-3
    assert solved_variance(w, p, f) < solved_variance(symmetric, p, f) - 1e-6


@pytest.mark.equation("5.23")
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9])
def test_a_wave_on_a_ring_has_the_closed_form(gamma: float) -> None:
    n = 10
    right = np.roll(np.eye(n), 1, axis=0)
    w = np.eye(n) / 2 + (1 + gamma) / 4 * right + (1 - gamma) / 4 * right.T
    p = np.full(n, 1 / n)
    for k in (1, 2, 3, 5):
        theta = 2 * np.pi * k / n
        f = np.cos(theta * np.arange(n))
        cot = np.cos(theta / 2) / np.sin(theta / 2)
        formula = 2 / np.sin(theta / 2) ** 2 / (1 + gamma**2 * cot**2) - 1
        assert abs(summed_variance(w, p, f, 4000) / (p @ f**2) - formula) < 1e-9 * max(1, formula)


def landfill(w: np.ndarray) -> np.ndarray:
    """Equation (5.25) as it stands, the largest weight first: v[i, j] flows from i to j."""
    n = len(w)
    S = np.concatenate([[w.sum()], np.cumsum(w)])  # S[0] stands for S_n
    v = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            delta = S[i + 1] - S[j] + w[0]
            v[i, j] = max(0.0, min(delta, w[i] + w[j] - delta, w[i], w[j]))
    return v


def random_weights(n: int, seed: int) -> np.ndarray:
    w = np.random.default_rng(seed).dirichlet(np.full(n, 0.8))
    first = int(w.argmax())
    return np.concatenate([w[first:], w[:first]])


def pushed_round(w: np.ndarray, points: int = 200_000) -> np.ndarray:
    """Equation (5.24) on a fine grid of the circle: which share of it goes from i to j."""
    ends = np.cumsum(w)
    y = (np.arange(points) + 0.5) / points
    i = np.searchsorted(ends[:-1], y, side="right")
    j = np.searchsorted(ends[:-1], (y + w.max()) % 1.0, side="right")
    v = np.zeros((len(w), len(w)))
    np.add.at(v, (i, j), 1 / points)
    return v


@pytest.mark.equation("5.24")
def test_rotating_the_circle_keeps_the_weights() -> None:
    for seed in range(10):
        w = random_weights(5, seed)
        v = pushed_round(w)
        assert np.abs(v.sum(0) - w).max() < 1e-4  # what arrives
        assert np.abs(v.sum(1) - w).max() < 1e-4  # what leaves


@pytest.mark.equation("5.24")
@pytest.mark.parametrize("seed", range(4))
def test_the_package_rotates_by_the_longest_arc(seed: int) -> None:
    w = np.random.default_rng(seed).dirichlet(np.full(4, 0.8))  # the longest is anywhere
    n_points = 20_000
    now = np.arange(4).repeat(n_points)
    u = (np.tile(np.arange(n_points), 4) + 0.5) / n_points
    log_weights = torch.from_numpy(np.log(w)).expand(len(now), -1)
    landed = rotate(log_weights, torch.from_numpy(now), torch.from_numpy(u)).numpy()
    v = np.zeros((4, 4))
    np.add.at(v, (now, landed), w[now] / n_points)
    # u counts from the end of an arc where the text counts from its beginning: equal shares
    assert np.abs(v - pushed_round(w)).max() < 3e-4
    matrix = landfill_matrix(torch.from_numpy(w)).numpy()
    assert np.abs(matrix * w - v.T).max() < 3e-4


@pytest.mark.equation("5.25")
def test_the_allocation_is_the_overlap_of_shifted_arcs() -> None:
    for seed in range(30):
        w = random_weights(3 + seed % 4, seed)
        v = landfill(w)
        assert np.abs(v.sum(0) - w).max() < 1e-14
        assert np.abs(v.sum(1) - w).max() < 1e-14
        assert np.abs(v - pushed_round(w)).max() < 1e-4
        matrix = landfill_matrix(torch.from_numpy(w)).numpy()
        assert np.abs(matrix - v.T / w).max() < 1e-10 / w.min()


@pytest.mark.equation("5.26")
def test_it_stays_as_little_as_balance_allows() -> None:
    from scipy.optimize import linprog

    for seed in range(10):
        n = 4
        w = random_weights(n, 100 + seed)
        stays = np.trace(landfill(w))
        assert abs(stays - max(0.0, 2 * w[0] - 1)) < 1e-14
        # the least trace of all flows that leave and reach every state by its weight
        rows = np.array([[i == k for i in range(n) for _ in range(n)] for k in range(n)], float)
        columns = np.array([[j == k for _ in range(n) for j in range(n)] for k in range(n)], float)
        least = linprog(
            np.eye(n).ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([w, w])
        )
        assert abs(stays - least.fun) < 1e-9


def test_detailed_balance_breaks_unless_one_state_outweighs_the_rest() -> None:
    broken = kept = 0
    for seed in range(100):
        w = random_weights(3 + seed % 3, 300 + seed)
        v = landfill(w)
        if w[0] < 0.5:
            broken += 1
            assert np.abs(v - v.T).max() > 1e-6
        else:
            kept += 1
            assert np.abs(v - v.T).max() < 1e-14
    assert broken > 20
    assert kept > 20
