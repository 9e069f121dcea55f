"""Section 5.2: detailed balance, proposals and acceptance, the order of the updates."""

import itertools

import numpy as np
import pytest
import torch

from lecture_pkg.models import BoltzmannMachine
from lecture_pkg.sampling import Metropolis

N = 3
STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=N)))
J = np.array([[0.0, 0.9, -0.6], [0.9, 0.0, 0.4], [-0.6, 0.4, 0.0]])
H = np.array([0.5, -0.2, 0.1])


def energies() -> np.ndarray:
    return np.array([-(x @ J @ x / 2 + H @ x) for x in STATES])


def target() -> np.ndarray:
    weights = np.exp(-energies())
    return weights / weights.sum()


def random_reversible(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A chain made from a symmetric flow: p(x') w(x|x') = flow(x, x'), with something at home."""
    flow = np.random.default_rng(seed).gamma(0.5, size=(n, n))
    flow = flow + flow.T
    p = flow.sum(0) / flow.sum()
    return flow / flow.sum(0), p


def metropolis_hastings(p: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Equation (5.17) entry by entry, with the rest on the diagonal as in (5.16)."""
    n = len(p)
    w = np.zeros((n, n))
    for now in range(n):
        for to in range(n):
            if to != now and c[to, now] > 0:
                w[to, now] = c[to, now] * min(1.0, p[to] * c[now, to] / (p[now] * c[to, now]))
        w[now, now] = 1 - w[:, now].sum()
    return w


@pytest.mark.equation("5.13")
def test_a_reversible_chain_shows_the_same_film_backwards() -> None:
    w, p = random_reversible(4, 0)
    for path in itertools.product(range(4), repeat=4):
        forward, backward = p[path[0]], p[path[-1]]
        for a, b in itertools.pairwise(path):
            forward *= w[b, a]
            backward *= w[a, b]
        assert abs(forward - backward) < 1e-15
    # and where the condition fails, some film gives itself away
    rotation = np.roll(np.eye(3), 1, axis=0)
    assert rotation[1, 0] / 3 != rotation[0, 1] / 3


@pytest.mark.equation("5.13")
def test_reversible_correlations_decay_with_real_eigenvalues_and_positive_shares() -> None:
    w, p = random_reversible(6, 1)
    f = np.random.default_rng(2).normal(size=6)
    f -= p @ f
    symmetric = w * np.sqrt(p) / np.sqrt(p)[:, None]
    assert np.abs(symmetric - symmetric.T).max() < 1e-14
    values, vectors = np.linalg.eigh(symmetric)
    shares = (vectors.T @ (np.sqrt(p) * f)) ** 2 / (p @ f**2)
    for t in range(6):
        correlation = f @ np.linalg.matrix_power(w, t) @ (p * f) / (p @ f**2)
        assert abs(correlation - shares @ values**t) < 1e-13


@pytest.mark.equation("5.14")
def test_detailed_balance_implies_balance_and_not_the_reverse() -> None:
    w, p = random_reversible(7, 3)
    assert np.abs(w @ p - p).max() < 1e-15
    rotation, uniform = np.roll(np.eye(3), 1, axis=0), np.full(3, 1 / 3)
    assert np.abs(rotation @ uniform - uniform).max() < 1e-15
    flow = rotation * uniform
    assert np.abs(flow - flow.T).max() > 0.3


@pytest.mark.equation("5.15")
def test_the_ratio_of_there_and_back_is_the_exponential_of_the_heat() -> None:
    model = BoltzmannMachine(torch.from_numpy(J), torch.from_numpy(H))
    E, sweep = energies(), Metropolis(model, scan="random").transition_matrix().numpy()
    for to in range(8):
        for now in range(8):
            ratio = sweep[to, now] / sweep[now, to]
            assert abs(np.log(ratio) + (E[to] - E[now])) < 1e-10


@pytest.mark.equation("5.16")
def test_what_is_refused_stays() -> None:
    """Draw proposals and acceptances one at a time; a forgotten refusal would shift the counts."""
    p = np.array([0.1, 0.2, 0.7])
    c = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.2, 0.4, 0.4]])
    w = metropolis_hastings(p, c)
    assert np.abs(w.sum(0) - 1).max() < 1e-15
    rng, n_draws = np.random.default_rng(4), 40_000
    for now in range(3):
        proposed = rng.choice(3, size=n_draws, p=c[:, now])
        r = p[proposed] * c[now, proposed] / (p[now] * c[proposed, now])
        landed = np.where(rng.random(n_draws) < r, proposed, now)
        shares = np.bincount(landed, minlength=3) / n_draws
        # 9 shares, each beyond 6 standard errors with probability 2e-9: false alarm below 1e-6
        assert (np.abs(shares - w[:, now]) < 6 * np.sqrt(0.25 / n_draws)).all()


@pytest.mark.equation("5.17")
def test_metropolis_hastings_keeps_detailed_balance_in_all_four_cases() -> None:
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(6))
    c = rng.dirichlet(np.ones(6), size=6).T
    c[2, 4] = 0.0  # a proposal in one direction only
    c[5, 1] = c[1, 5] = 0.0  # none in either
    c /= c.sum(0)
    w = metropolis_hastings(p, c)
    flow = w * p
    assert np.abs(flow - flow.T).max() < 1e-15
    assert w[4, 2] == 0
    ratios = [p[a] * c[b, a] / (p[b] * c[a, b]) for a in range(6) for b in range(6) if c[a, b] > 0]
    assert min(ratios) < 1 < max(ratios)
    # without the correction the distribution is another one
    uncorrected = np.minimum(1, p[:, None] / p) * c
    np.fill_diagonal(uncorrected, 0)
    uncorrected += np.diag(1 - uncorrected.sum(0))
    assert np.abs(uncorrected @ p - p).max() > 0.01


@pytest.mark.equation("5.17")
def test_no_reversible_chain_with_these_proposals_moves_more() -> None:
    """Of any flow of there and back, each is at most what is proposed: the minimum of the two."""
    p = np.array([0.15, 0.25, 0.6])
    c = np.array([[0.0, 0.7, 0.5], [0.4, 0.0, 0.5], [0.6, 0.3, 0.0]])
    flow = metropolis_hastings(p, c) * p
    proposed = c * p
    off = ~np.eye(3, dtype=bool)
    assert np.abs((flow - np.minimum(proposed, proposed.T))[off]).max() < 1e-16


@pytest.mark.equation("5.18")
def test_a_single_flip_costs_twice_the_spin_times_its_local_field() -> None:
    E = energies()
    for now, x in enumerate(STATES):
        for i in range(N):
            flipped = x.copy()
            flipped[i] *= -1
            to = int(np.flatnonzero((flipped == STATES).all(1))[0])
            assert abs((E[to] - E[now]) - 2 * x[i] * (J[i] @ x + H[i])) < 1e-14


@pytest.mark.equation("5.18")
def test_the_package_accepts_single_flips_by_their_energy() -> None:
    c = np.array([[(a != b).sum() == 1 for b in STATES] for a in STATES]) / N
    by_hand = metropolis_hastings(target(), c)
    model = BoltzmannMachine(torch.from_numpy(J), torch.from_numpy(H))
    sweep = Metropolis(model, scan="random").transition_matrix().numpy()
    assert np.abs(sweep - by_hand @ by_hand @ by_hand).max() < 1e-14


@pytest.mark.equation("5.19")
def test_means_of_reversible_updates_are_reversible_and_products_only_balanced() -> None:
    p = target()
    updates = []
    for i in range(N):
        c = np.zeros((8, 8))
        for now in range(8):
            c[now ^ (1 << (N - 1 - i)), now] = 1.0
        updates.append(metropolis_hastings(p, c))
    mean, product = sum(updates) / N, updates[2] @ updates[1] @ updates[0]
    assert np.abs(mean * p - (mean * p).T).max() < 1e-16
    assert np.abs(product @ p - p).max() < 1e-15
    assert np.abs(product * p - (product * p).T).max() > 1e-2
    backwards = updates[0] @ updates[1] @ updates[2]
    assert np.abs(product * p - (backwards * p).T).max() < 1e-15
    model = BoltzmannMachine(torch.from_numpy(J), torch.from_numpy(H))
    assert np.abs(Metropolis(model).transition_matrix().numpy() - product).max() < 1e-14


def test_ties_and_infinite_temperature_keep_sequential_metropolis_from_mixing() -> None:
    """Free flips are always made: eigenvalues of modulus one that the heat bath does not have."""
    free = BoltzmannMachine(torch.zeros(3, 3).double(), torch.zeros(3).double())
    w = Metropolis(free).transition_matrix().numpy()
    assert (w == np.eye(8)[::-1]).all()  # a sweep reverses every unit
    ring = np.roll(np.eye(8), 1, axis=0)
    model = BoltzmannMachine(torch.from_numpy(ring + ring.T), torch.zeros(8).double())
    moduli = np.abs(np.linalg.eigvals(Metropolis(model).transition_matrix(0.5).numpy()))
    assert (moduli > 1 - 1e-9).sum() > 1
