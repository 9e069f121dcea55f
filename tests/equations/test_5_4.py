"""Equations of section 5.4: what cold distributions know, and how long they take to tell."""

import itertools
import math

import numpy as np
import pytest

STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=5)))
COUPLINGS = np.random.default_rng(54).normal(size=(5, 5))
FIELDS = np.array([0.4, -0.3, 0.9, -1.1, 0.2])
ENERGIES = np.array(
    [
        -sum(COUPLINGS[k, m] * x[k] * x[m] for k in range(5) for m in range(k + 1, 5)) - FIELDS @ x
        for x in STATES
    ]
)


def boltzmann(energies: np.ndarray, beta: float) -> np.ndarray:
    """By repeated products instead of one exponential of the whole."""
    weights = np.ones(len(energies))
    for _ in range(64):
        weights *= np.exp(-beta / 64 * (energies - energies.min()))
    return weights / weights.sum()


def heat_bath_update(site: int, beta: float) -> np.ndarray:
    """w[x, x'] of one unit drawn from its conditional, by comparing states."""
    others = np.delete(STATES, site, axis=1)
    reachable = (others[:, None] == others).all(-1)
    weights = np.exp(-beta * ENERGIES)
    return reachable * weights[:, None] / (reachable @ weights)


def metropolis_on_a_line(V: np.ndarray, beta: float) -> np.ndarray:
    w = np.zeros((len(V), len(V)))
    for here in range(len(V)):
        for there in (here - 1, here + 1):
            if 0 <= there < len(V):
                w[there, here] = 0.5 * min(1.0, math.exp(-beta * (V[there] - V[here])))
        w[here, here] = 1 - w[:, here].sum()
    return w


@pytest.mark.equation("5.27")
def test_the_distribution_maximises_entropy_at_its_mean_energy_and_has_two_ends() -> None:
    for beta in (0.3, 2.0):
        p = np.exp(-beta * ENERGIES) / np.exp(-beta * ENERGIES).sum()
        np.testing.assert_allclose(p, boltzmann(ENERGIES, beta), rtol=1e-12)
        # Among distributions with the same mean energy it has the largest entropy.
        rng = np.random.default_rng(1)
        for _ in range(20):
            change = rng.normal(size=32)
            for constraint in np.linalg.qr(np.column_stack([np.ones(32), ENERGIES]))[0].T:
                change -= (change @ constraint) * constraint
            other = p + 0.5 * p.min() * change / abs(change).max()
            assert abs(other @ ENERGIES - p @ ENERGIES) < 1e-12
            assert -(other @ np.log(other)) < -(p @ np.log(p))
    np.testing.assert_allclose(boltzmann(ENERGIES, 1e-9), 1 / 32, rtol=1e-7)


@pytest.mark.equation("5.28")
def test_the_ground_states_take_all_the_probability() -> None:
    energies = np.array([0.0, 1.5, 0.0, 0.7, 3.0, 0.0]) - 2.0  # three ground states
    last = 0.0
    for beta in (0.1, 1.0, 5.0, 20.0):
        formula = 3 / (3 + sum(math.exp(-beta * (e + 2)) for e in (-0.5, -1.3, 1.0)))
        p = boltzmann(energies, beta)
        assert math.isclose(formula, p[[0, 2, 5]].sum(), rel_tol=1e-12)
        assert formula > last
        last = formula
    assert 1 - last < 1e-5


@pytest.mark.equation("5.29")
@pytest.mark.parametrize("slope", [[2.0], [0.5, 1.5], [0.2, 0.2, 0.7, 0.9]])
def test_only_the_height_of_the_pass_counts(slope: list[float]) -> None:
    heights = np.concatenate([[0.0], np.cumsum(slope)])
    for beta in (0.5, 3.0):
        w = metropolis_on_a_line(heights, beta)
        climb = math.prod(w[i + 1, i] for i in range(len(slope)))
        assert math.isclose(climb, 0.5 ** len(slope) * math.exp(-beta * 2.0), rel_tol=1e-12)


@pytest.mark.equation("5.30")
@pytest.mark.parametrize(
    ("V", "depth"),
    [
        ([1.0, 3.0, 0.0], 2.0),
        ([0.0, 2.0, 0.5, 4.0, 1.0, 1.2], 3.0),
        ([1.0, 2.5, 0.9, 2.0, 0.0], 1.5),  # the way from the left end goes over both passes
        ([0.3, 1.0, 0.2, 2.0, 0.0], 1.8),  # the pass next to the left end is not the one
    ],
)
def test_the_gap_closes_with_the_depth_of_the_trap(V: list[float], depth: float) -> None:
    from mpmath import mp, mpf

    V = np.array(V)
    with mp.workdps(80):

        def log_gap(beta: int):
            n = len(V)
            w = mp.zeros(n)
            for here in range(n):
                for there in (here - 1, here + 1):
                    if 0 <= there < n:
                        up = max(mpf(0), mpf(V[there]) - mpf(V[here]))
                        w[there, here] = mp.exp(-beta * up) / 2
                w[here, here] = 1 - sum(w[i, here] for i in range(n) if i != here)
            # Detailed balance: w is similar to a symmetric matrix.
            S = mp.matrix(n, n)
            for i, j in itertools.product(range(n), repeat=2):
                S[i, j] = w[i, j] * mp.exp(mpf(beta) * (mpf(V[i]) - mpf(V[j])) / 2)
            values = sorted(mp.eigsy((S + S.T) / 2, eigvals_only=True))
            return mp.log(1 - values[-2])

        slope = -(log_gap(40) - log_gap(30)) / 10
        assert abs(float(slope) - depth) < 0.01


@pytest.mark.equation("5.31")
def test_annealing_is_a_product_of_matrices() -> None:
    # Every factor keeps its own distribution; the product lags behind, less if it is longer.
    lags = []
    for n_steps in (4, 16, 64):
        p = np.full(32, 1 / 32)
        for t in range(1, n_steps + 1):
            beta = 1.5 * t / n_steps
            for site in range(5):
                w = heat_bath_update(site, beta)
                np.testing.assert_allclose(w.sum(0), 1)
                target = boltzmann(ENERGIES, beta)
                np.testing.assert_allclose(w @ target, target, atol=1e-13)
                p = w @ p
        lags.append(0.5 * abs(p - boltzmann(ENERGIES, 1.5)).sum())
    assert all(slow < fast for fast, slow in itertools.pairwise(lags))
    assert lags[-1] > 1e-6


@pytest.mark.equation("5.31")
def test_sampled_walkers_follow_the_product() -> None:
    V, betas = np.array([0.4, 1.5, 0.0, 0.9, 0.3]), np.linspace(0.2, 3.0, 12)
    p, rng = np.full(5, 0.2), np.random.default_rng(7)
    n = 200_000
    place = rng.integers(0, 5, n)
    for beta in betas:
        p = metropolis_on_a_line(V, beta) @ p
        there = place + rng.choice([-1, 1], n)
        inside = (there >= 0) & (there < 5)
        rise = V[np.clip(there, 0, 4)] - V[place]
        accept = inside & (rng.random(n) < np.exp(-beta * rise))
        place = np.where(accept, there, place)
    found = np.bincount(place, minlength=5) / n
    assert (abs(found - p) < 5.5 * np.sqrt(p * (1 - p) / n)).all()  # false alarm 2e-7


@pytest.mark.equation("5.32")
def test_the_mean_energy_falls_as_fast_as_the_energy_fluctuates() -> None:
    for beta in (0.0, 0.4, 1.3):
        p = boltzmann(ENERGIES, beta)
        variance = p @ ENERGIES**2 - (p @ ENERGIES) ** 2
        step = 1e-5
        ends = [boltzmann(ENERGIES, beta + s) @ ENERGIES for s in (-step, step)]
        assert math.isclose((ends[1] - ends[0]) / (2 * step), -variance, rel_tol=1e-7)


@pytest.mark.equation("5.33")
def test_logarithmic_cooling_reaches_the_ground_state_and_faster_cooling_stays_in_the_trap() -> (
    None
):
    # Two spins, in the order (-, -), (-, +), (+, -), (+, +): a trap of depth 1; N Δ = 4.
    E = np.array([1.0, 2.0, 2.0, 0.0])

    def run(schedule, n_updates: int) -> float:
        p = np.full(4, 0.25)
        for t in range(2, n_updates):
            beta, after = schedule(t), np.zeros(4)
            for first, second in (((0, 2), (1, 3)), ((0, 1), (2, 3)))[t % 2]:
                total = p[first] + p[second]
                share = 1 / (1 + math.exp(beta * (E[first] - E[second])))
                after[first], after[second] = total * share, total * (1 - share)
            p = after
        return float(p[3])

    n_delta = 2 * (E.max() - E.min())
    theorem = [run(lambda t: math.log(t) / n_delta, n) for n in (100, 1000, 10_000, 40_000)]
    assert all(b > a for a, b in itertools.pairwise(theorem))
    # The promised distribution at that β is reached, and it tends to one.
    beta = math.log(40_000) / n_delta
    assert abs(theorem[-1] - boltzmann(E, beta)[3]) < 1e-3
    fast = [run(lambda t: 3 * math.log(t), n) for n in (1000, 40_000)]
    assert fast[1] - fast[0] < 1e-3
    assert fast[1] < 0.9


@pytest.mark.equation("5.34")
def test_repetitions_until_one_succeeds() -> None:
    p, rng = 0.13, np.random.default_rng(3)
    for n in (1, 4, 20):
        # All outcomes of n trials, those without any success left out.
        patterns = [p**k * (1 - p) ** (n - k) * math.comb(n, k) for k in range(1, n + 1)]
        assert math.isclose(1 - (1 - p) ** n, sum(patterns), rel_tol=1e-12)
    needed = math.log(0.01) / math.log(1 - p)
    assert 1 - (1 - p) ** math.ceil(needed) >= 0.99
    assert 1 - (1 - p) ** (math.ceil(needed) - 1) < 0.99
    found = (rng.random((100_000, math.ceil(needed))) < p).any(1).mean()
    expected = 1 - (1 - p) ** math.ceil(needed)
    assert abs(found - expected) < 5.5 * math.sqrt(expected * (1 - expected) / 100_000)
