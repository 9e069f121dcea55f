"""Equations of section 5.5: the joint distribution of state and temperature, and its weights."""

import itertools
import math

import numpy as np
import pytest
import sympy

STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=5)))
COUPLINGS = np.random.default_rng(55).normal(size=(5, 5))
FIELDS = np.array([0.4, -0.3, 0.9, -1.1, 0.2])
ENERGIES = np.array(
    [
        -sum(COUPLINGS[k, m] * x[k] * x[m] for k in range(5) for m in range(k + 1, 5)) - FIELDS @ x
        for x in STATES
    ]
)
BETAS = np.array([0.0, 0.3, 0.7, 1.2])
WEIGHTS = np.array([0.0, 1.3, -0.8, 0.4])  # nothing special
Z = np.array([sum(math.exp(-beta * e) for e in ENERGIES) for beta in BETAS])


def joint(weights: np.ndarray) -> np.ndarray:
    p = np.exp(-BETAS[:, None] * ENERGIES + weights[:, None])
    return p / p.sum()


def mean_energy(beta: float) -> float:
    p = np.exp(-beta * ENERGIES)
    return float(p @ ENERGIES / p.sum())


def heat_bath_sweep(beta: float) -> np.ndarray:
    """w[x, x'] of five units drawn in turn from their conditionals."""
    w, weights = np.eye(32), np.exp(-beta * ENERGIES)
    for site in range(5):
        others = np.delete(STATES, site, axis=1)
        reachable = (others[:, None] == others).all(-1)
        w = reachable * weights[:, None] / (reachable @ weights) @ w
    return w


def chain(weights: np.ndarray, *, inward_at_the_ends: bool = False, corrected: bool = True):
    """The matrix of one sweep and one proposal of a level, written state by state."""
    n_levels, n = len(BETAS), len(ENERGIES)

    def proposal(k: int) -> dict[int, float]:
        inside = [j for j in (k - 1, k + 1) if 0 <= j < n_levels]
        return {j: 1 / len(inside) if inward_at_the_ends else 0.5 for j in inside}

    moves = np.zeros((n_levels * n, n_levels * n))
    for k, i in itertools.product(range(n_levels), range(n)):
        for j, c in proposal(k).items():
            ratio = math.exp(-(BETAS[j] - BETAS[k]) * ENERGIES[i] + weights[j] - weights[k])
            if corrected:
                ratio *= proposal(j)[k] / c
            moves[j * n + i, k * n + i] = c * min(1.0, ratio)
        moves[k * n + i, k * n + i] = 1 - moves[:, k * n + i].sum()
    sweeps = np.zeros_like(moves)
    for k, beta in enumerate(BETAS):
        sweeps[k * n : (k + 1) * n, k * n : (k + 1) * n] = heat_bath_sweep(beta)
    return moves, sweeps


def stationary(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eig(matrix)
    p = np.real(vectors[:, np.argmax(values.real)])
    return p / p.sum()


@pytest.mark.equation("5.35")
def test_the_joint_distribution_is_where_the_chain_ends_and_each_temperature_is_right() -> None:
    moves, sweeps = chain(WEIGHTS)
    p = stationary(moves @ sweeps).reshape(4, 32)
    np.testing.assert_allclose(p, joint(WEIGHTS), atol=1e-12)
    for k, beta in enumerate(BETAS):
        q = np.array([math.exp(-beta * e) for e in ENERGIES]) / Z[k]
        np.testing.assert_allclose(p[k] / p[k].sum(), q, atol=1e-12)


@pytest.mark.equation("5.36")
def test_the_levels_are_visited_as_z_times_exp_g() -> None:
    moves, sweeps = chain(WEIGHTS)
    visits = stationary(moves @ sweeps).reshape(4, 32).sum(1)
    z_all = sum(z * math.exp(g) for z, g in zip(Z, WEIGHTS, strict=True))
    np.testing.assert_allclose(visits, Z * np.exp(WEIGHTS) / z_all, atol=1e-12)


@pytest.mark.equation("5.37")
def test_with_minus_log_z_all_levels_are_visited_alike_and_with_plus_they_are_not() -> None:
    for sign, uniform in ((-1, True), (1, False)):
        moves, sweeps = chain(sign * np.log(Z))
        visits = stationary(moves @ sweeps).reshape(4, 32).sum(1)
        assert np.allclose(visits, 0.25, atol=1e-12) == uniform


@pytest.mark.equation("5.38")
def test_the_weights_rise_as_the_mean_energy() -> None:
    for beta in (0.0, 0.5, 1.4):
        step = 1e-5
        ends = [-math.log(np.exp(-(beta + s) * ENERGIES).sum()) for s in (-step, step)]
        assert math.isclose(
            (ends[1] - ends[0]) / (2 * step), mean_energy(beta), rel_tol=1e-8, abs_tol=1e-8
        )


@pytest.mark.equation("5.39")
def test_the_two_expansions_leave_a_twelfth_of_the_third_derivative() -> None:
    beta, delta = sympy.symbols("beta Delta")
    log_z = sympy.log(sympy.exp(-beta) + 2 * sympy.exp(-3 * beta) + sympy.exp(beta / 2))
    g, energy = -log_z, -sympy.diff(log_z, beta)
    after = beta + delta
    rule = delta / 2 * (energy + energy.subs(beta, after))
    error = g.subs(beta, after) - g - rule
    predicted = -sympy.diff(energy, beta, 2) / 12
    values = []
    for d in (sympy.Rational(1, 50), sympy.Rational(1, 100), sympy.Rational(1, 200)):
        exact = error.subs({beta: sympy.Rational(3, 10), delta: d}).evalf(40)
        leading = (predicted * delta**3).subs({beta: sympy.Rational(3, 10), delta: d}).evalf(40)
        values.append(float(exact / leading))
    gaps = [abs(v - 1) for v in values]
    assert gaps[-1] < 0.02
    assert all(1.7 < a / b < 2.3 for a, b in itertools.pairwise(gaps))  # the next order


@pytest.mark.equation("5.39")
def test_one_sided_steps_err_by_an_order_more() -> None:
    def total_error(n: int, rule) -> float:
        betas = np.linspace(0, 1.2, n + 1)
        g = sum(rule(a, b) * (b - a) for a, b in itertools.pairwise(betas))
        return abs(g + math.log(Z[-1]) - math.log(Z[0]))

    trapezoid = [
        total_error(n, lambda a, b: (mean_energy(a) + mean_energy(b)) / 2) for n in (20, 40)
    ]
    one_sided = [total_error(n, lambda a, b: mean_energy(a)) for n in (20, 40)]
    assert 3.8 < trapezoid[0] / trapezoid[1] < 4.2
    assert 1.9 < one_sided[0] / one_sided[1] < 2.1


@pytest.mark.equation("5.40")
def test_moves_of_level_keep_detailed_balance_if_the_proposal_is_corrected() -> None:
    p = joint(WEIGHTS).flatten()
    for inward in (False, True):
        moves, _ = chain(WEIGHTS, inward_at_the_ends=inward)
        flow = moves * p
        np.testing.assert_allclose(flow, flow.T, atol=1e-15)
    even = joint(-np.log(Z)).flatten()
    moves, _ = chain(-np.log(Z), inward_at_the_ends=True, corrected=False)
    assert abs(moves @ even - even).sum() > 0.02


@pytest.mark.equation("5.41")
def test_the_energy_chooses_the_temperature() -> None:
    for delta in (0.02, 0.01):
        beta = 0.6
        g = [-math.log(np.exp(-b * ENERGIES).sum()) for b in (beta, beta + delta)]
        exact = -delta * ENERGIES + g[1] - g[0]
        middle = (mean_energy(beta) + mean_energy(beta + delta)) / 2
        approximate = -delta * (ENERGIES - middle)
        assert abs(exact - approximate).max() < 5 * delta**3
        assert ((exact > 0) == (middle > ENERGIES)).mean() > 0.9


@pytest.mark.equation("5.42")
def test_the_learned_weights_stand_still_at_minus_log_z_and_nowhere_else() -> None:
    def drift(g: np.ndarray) -> np.ndarray:
        visits = Z * np.exp(g)
        return -len(Z) * (visits / visits.sum() - 1 / len(Z))

    np.testing.assert_allclose(drift(-np.log(Z)), 0, atol=1e-14)
    assert abs(drift(WEIGHTS)).max() > 0.1
    # Followed with diminishing steps the mean rule arrives, from far away.
    g = np.array([0.0, 5.0, -4.0, 2.0])
    for t in range(1, 20_001):
        g = g + min(0.25, 1 / t) * drift(g)
    g -= g[0]
    np.testing.assert_allclose(g, -np.log(Z / Z[0]), atol=0.01)


@pytest.mark.equation("5.42")
def test_noisy_visits_average_out() -> None:
    rng, g, n_seeds = np.random.default_rng(8), np.zeros((200, 4)), 200
    target = -np.log(Z / Z[0])
    for t in range(1, 3001):
        p = Z * np.exp(g)
        p /= p.sum(1, keepdims=True)
        level = (rng.random((n_seeds, 1)) > p.cumsum(1)).sum(1).clip(max=3)
        gain = min(0.25, t**-0.6) if t <= 300 else 1 / (t - 300 + 300**0.6)
        g = g - gain * (4 * np.eye(4)[level] - 1)
        if t in (750, 3000):
            error = (g - g[:, :1] - target)[:, 1:]
            spread = error.std(0).max()
            # The mean over 200 seeds lies within six of its standard errors, and a small bias.
            assert (abs(error.mean(0)) < 6 * spread / math.sqrt(n_seeds) + 0.02).all()
            if t == 750:
                early = spread
    assert 1.6 < early / spread < 2.6  # one over the square root of the time
