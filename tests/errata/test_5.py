"""The slides on Markov chains: every claim below fails as printed, and the corrected one holds."""

import itertools

import numpy as np
import pytest

P = np.array([2.0, 1.0, 3.0, 6.0]) / 12
METROPOLIS = np.array([[3, 6, 4, 0], [3, 0, 0, 1], [6, 0, 2, 3], [0, 6, 6, 8]]) / 12


def distance(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.abs(p - q).sum() / 2)


@pytest.mark.erratum("slide-balance")
def test_balance_alone_does_not_make_a_chain_converge() -> None:
    start = np.array([1.0, 0, 0, 0])
    uniform = np.full(4, 0.25)
    second_spin_only = np.array([[1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 2, 1]]) / 2
    always_flips = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]) / 2
    for w, target in [(np.eye(4), P), (second_spin_only, P), (always_flips, uniform)]:
        np.testing.assert_allclose(w.sum(0), 1)
        np.testing.assert_allclose(w @ target, target, atol=1e-15)  # balance holds
        for t in (1000, 1001):
            assert distance(np.linalg.matrix_power(w, t) @ start, target) > 0.4
    # Balanced, irreducible and aperiodic: some power has no zero, and every start is forgotten.
    for w, target in [(METROPOLIS, P), (0.1 * np.eye(4) + 0.9 * always_flips, uniform)]:
        assert np.linalg.matrix_power(w, 4).min() > 0
        np.testing.assert_allclose(w @ target, target, atol=1e-15)
        for column in np.linalg.matrix_power(w, 1000).T:
            assert distance(column, target) < 1e-12


@pytest.mark.erratum("slide-quantum")
def test_a_stochastic_matrix_is_not_a_unitary_one() -> None:
    # The chain's matrix keeps sums, not sums of squares, and it shrinks differences.
    assert np.abs(METROPOLIS.T @ METROPOLIS - np.eye(4)).max() > 0.3
    p, q = np.array([1.0, 0, 0, 0]), np.array([0, 0, 1.0, 0])
    assert distance(METROPOLIS @ p, METROPOLIS @ q) < 0.6 * distance(p, q)
    # A unitary matrix keeps all distances between states, so that it forgets no start.
    generator = np.random.default_rng(1)
    u, _ = np.linalg.qr(generator.normal(size=(4, 4)) + 1j * generator.normal(size=(4, 4)))
    for _ in range(5):
        p, q = u @ p, u @ q
        assert np.linalg.norm(p - q) == pytest.approx(np.sqrt(2))
    # Both at once: non-negative entries, columns that sum to one and squares that sum to one
    # leave one entry 1 in every column. Of all 3 x 3 matrices of quarters only permutations do.
    columns = [c for c in itertools.product(np.arange(5) / 4, repeat=3) if sum(c) == 1]
    both = [
        w
        for w in (np.array(m).T for m in itertools.product(columns, repeat=3))
        if np.abs(w.T @ w - np.eye(3)).max() < 1e-12
    ]
    assert len(both) == 6
    assert all(set(w.flatten()) == {0.0, 1.0} for w in both)


@pytest.mark.erratum("slide-quantum")
def test_measured_amplitudes_are_samples_with_the_error_of_samples() -> None:
    """Measuring amplitudes sqrt(P) gives one state a time: the error falls as 1/sqrt(n)."""
    amplitude = np.sqrt(P)
    f = np.array([1.0, -2.0, 0.5, 3.0])
    exact, sigma = P @ f, np.sqrt(P @ f**2 - (P @ f) ** 2)
    generator = np.random.default_rng(2)
    for n in (25, 400):
        means = f[generator.choice(4, size=(4000, n), p=np.abs(amplitude) ** 2)].mean(1)
        # The spread of 4000 means is known to 1.1 %; 6 % is more than five of them.
        assert means.std() == pytest.approx(sigma / np.sqrt(n), rel=0.06)
        assert means.mean() == pytest.approx(exact, abs=6 * sigma / np.sqrt(n * 4000))
