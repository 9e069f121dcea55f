"""Section 5: what a sample mean is worth, whether its draws are independent or correlated."""

import itertools
import math

import numpy as np
import pytest
import torch

from lecture_pkg.sampling import autocorrelation_time, effective_sample_size, standard_error

STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
J = {(0, 1): 0.7, (0, 2): -0.4, (1, 2): 0.9}
H = np.array([0.3, -0.8, 0.5])
ENERGY = -sum(v * STATES[:, k] * STATES[:, m] for (k, m), v in J.items()) - STATES @ H
P = np.exp(-ENERGY) / np.exp(-ENERGY).sum()
F = STATES[:, 0] * STATES[:, 1] + 2 * STATES[:, 2]  # an observable


def all_samples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Every sequence of n independent draws, as indices, with its probability."""
    index = np.array(list(itertools.product(range(8), repeat=n)))
    return index, P[index].prod(1)


@pytest.mark.equation("5.1")
def test_the_mean_of_samples_has_the_right_expectation() -> None:
    exact = P @ F
    for n in (1, 2, 4):
        index, weight = all_samples(n)
        assert weight.sum() == pytest.approx(1, abs=1e-12)
        assert weight @ F[index].mean(1) == pytest.approx(exact, abs=1e-12)


@pytest.mark.equation("5.2")
def test_the_variance_of_the_mean_falls_as_one_over_n() -> None:
    exact = P @ F
    variance = P @ (F - exact) ** 2
    for n in (1, 2, 3, 5):
        index, weight = all_samples(n)
        error = weight @ (F[index].mean(1) - exact) ** 2
        assert error == pytest.approx(variance / n, abs=1e-12)


@pytest.mark.equation("5.3")
def test_the_share_that_rejection_accepts_and_what_it_accepts() -> None:
    """Chains of n spins with the closed form Z = 2 (2 cosh J)^(n-1), summed over all coins."""
    coupling = 0.8
    for n in (2, 5, 9):
        x = np.array(list(itertools.product([-1.0, 1.0], repeat=n)))
        energy = -coupling * (x[:, 1:] * x[:, :-1]).sum(1)
        lowest = -coupling * (n - 1)
        accepted = np.exp(-(energy - lowest))
        free_energy = -math.log(2 * (2 * math.cosh(coupling)) ** (n - 1))
        printed = math.exp(-(n * math.log(2) + free_energy - lowest))
        assert accepted.mean() == pytest.approx(printed, rel=1e-12)
        # What is accepted follows P.
        target = np.exp(-energy + free_energy)
        np.testing.assert_allclose(accepted / accepted.sum(), target, atol=1e-14)


@pytest.mark.equation("5.4")
def test_importance_weights_are_worth_the_ratio_of_partition_functions() -> None:
    def partition(beta: float) -> float:
        return float(np.exp(-beta * ENERGY).sum())

    limit = partition(1) ** 2 / (8 * partition(2))
    drawn = np.random.default_rng(5).integers(8, size=400_000)
    u = np.exp(-ENERGY[drawn])
    measured = u.sum() ** 2 / (u**2).sum() / len(u)
    # The relative standard error is below 0.4 %; 2.5 % is more than five of them.
    assert measured == pytest.approx(limit, rel=0.025)
    assert limit < 0.7  # far from the 1 of even weights


def metropolis_step() -> np.ndarray:
    """One single-flip update, written with loops; columns are the present states."""
    w = np.zeros((8, 8))
    for old in range(8):
        for site in range(3):
            new = old ^ (4 >> site)
            w[new, old] += min(1.0, P[new] / P[old]) / 3
        w[old, old] += 1 - w[:, old].sum()
    return w


def exact_correlations(w: np.ndarray, length: int) -> np.ndarray:
    """ρ_t of F in the stationary chain, for t = 0, …, length."""
    centred = F - P @ F
    carried, rho = centred * P, []
    for _ in range(length + 1):
        rho.append(centred @ carried)
        carried = w @ carried
    return np.array(rho) / rho[0]


@pytest.mark.equation("5.5")
def test_the_autocorrelation_time_sums_the_correlations() -> None:
    w = metropolis_step()
    tau = 1 + 2 * exact_correlations(w, 2000)[1:].sum()
    # The same sum as a resolvent: sum over t of w^t on functions of mean zero.
    centred = F - P @ F
    solved = np.linalg.solve(np.eye(8) - w + np.outer(P, np.ones(8)), centred * P)
    assert tau == pytest.approx(2 * centred @ solved / (centred**2 @ P) - 1, rel=1e-10)

    generator = np.random.default_rng(55)
    chains = generator.choice(8, size=2000, p=P)
    cumulative = w.cumsum(0)
    path = []
    for _ in range(500):
        chains = (generator.random(len(chains)) > cumulative[:, chains]).sum(0).clip(max=7)
        path.append(F[chains])
    measured = float(autocorrelation_time(torch.from_numpy(np.array(path))))
    # One million values: the relative standard error is sqrt(12 τ / values) = 1 %.
    assert measured == pytest.approx(tau, rel=0.06)


@pytest.mark.equation("5.6")
def test_the_error_of_a_correlated_mean() -> None:
    """The double sum by brute force over all paths, the single sum, and the limit."""
    w, n = metropolis_step(), 5
    exact = P @ F
    variance = P @ (F - exact) ** 2
    paths = np.array(list(itertools.product(range(8), repeat=n)))
    weight = P[paths[:, 0]]
    for t in range(1, n):
        weight = weight * w[paths[:, t], paths[:, t - 1]]
    assert weight.sum() == pytest.approx(1, abs=1e-12)
    brute = weight @ (F[paths].mean(1) - exact) ** 2
    rho = exact_correlations(w, 5000)
    t = np.arange(1, n)
    assert brute == pytest.approx(variance / n * (1 + 2 * ((1 - t / n) * rho[t]).sum()), abs=1e-12)

    n = 5000
    t = np.arange(1, n)
    tau = 1 + 2 * rho[1:].sum()
    assert 1 + 2 * ((1 - t / n) * rho[t]).sum() == pytest.approx(tau, rel=0.01)

    f = torch.from_numpy(np.random.default_rng(56).standard_normal((4000, 2)).cumsum(1))
    tau = autocorrelation_time(f)
    assert float(effective_sample_size(f)) == pytest.approx(8000 / float(tau))
    expected = math.sqrt(float(tau) * float(f.var()) / 8000)
    assert float(standard_error(f)) == pytest.approx(expected)
