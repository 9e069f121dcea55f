"""Section 7.2: the heat bath, by enumeration with loops of its own."""

import itertools
import math

import numpy as np
import pytest
import torch

from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import HeatBath, Metropolis

N = 4
J = np.array(
    [
        [0.0, 0.9, -0.6, 0.2],
        [0.9, 0.0, 0.5, -1.1],
        [-0.6, 0.5, 0.0, 0.7],
        [0.2, -1.1, 0.7, 0.0],
    ]
)
H = np.array([0.4, -0.3, 0.8, 0.1])
VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}


def enumerate_model(units: str) -> tuple[np.ndarray, np.ndarray]:
    """All states, unit 0 slowest, and their probabilities."""
    x = np.array(list(itertools.product(VALUES[units], repeat=N)))
    pairs = [(k, m) for k in range(N) for m in range(k + 1, N)]
    minus_energy = np.array(
        [math.fsum(J[k, m] * s[k] * s[m] for k, m in pairs) + math.fsum(H * s) for s in x]
    )
    return x, np.exp(minus_energy) / np.exp(minus_energy).sum()


def machine(units: str = "spin") -> BoltzmannMachine:
    return BoltzmannMachine(torch.from_numpy(J), torch.from_numpy(H), units)


def conditional(x: np.ndarray, p: np.ndarray, site: int) -> np.ndarray:
    """P(x_i | the others) of every state, from the definition with dictionaries."""
    rest = [tuple(np.delete(s, site)) for s in x]
    total: dict[tuple[float, ...], float] = {}
    for key, weight in zip(rest, p, strict=True):
        total[key] = total.get(key, 0.0) + float(weight)
    return np.array([weight / total[key] for key, weight in zip(rest, p, strict=True)])


def update_matrix(x: np.ndarray, p: np.ndarray, site: int) -> np.ndarray:
    """w_i(x|x'), columns the present states."""
    share = conditional(x, p, site)
    same_rest = (np.delete(x, site, 1)[:, None] == np.delete(x, site, 1)).all(-1)
    return share[:, None] * same_rest


@pytest.mark.equation("7.11")
@pytest.mark.parametrize("units", ["spin", "binary"])
def test_the_conditional_is_the_share_and_needs_no_partition_function(units: str) -> None:
    x, p = enumerate_model(units)
    for site in range(N):
        share = conditional(x, p, site)
        np.testing.assert_allclose(share, conditional(x, 7.3 * p, site), rtol=1e-12)
        # It is a distribution of x_i, and with that of the others it makes P again.
        partner = np.arange(2**N) ^ (1 << (N - 1 - site))
        np.testing.assert_allclose(share + share[partner], 1, rtol=1e-12)
        np.testing.assert_allclose(share * (p + p[partner]), p, rtol=1e-12)


@pytest.mark.equation("7.12")
def test_the_local_field_collects_what_contains_the_unit() -> None:
    x, p = enumerate_model("spin")
    for site in range(N):
        field = x @ J[:, site] + H[site]
        remainder = np.log(p) - x[:, site] * field
        partner = np.arange(2**N) ^ (1 << (N - 1 - site))
        np.testing.assert_allclose(remainder, remainder[partner], rtol=1e-12)
        np.testing.assert_allclose(field, field[partner], rtol=1e-12)


@pytest.mark.equation("7.13")
def test_the_conditional_in_the_local_field() -> None:
    x, p = enumerate_model("spin")
    for site in range(N):
        field = x @ J[:, site] + H[site]
        share = conditional(x, p, site)
        np.testing.assert_allclose(
            share, np.exp(field * x[:, site]) / (2 * np.cosh(field)), rtol=1e-12
        )
        up = x[:, site] > 0
        np.testing.assert_allclose(share[up], 1 / (1 + np.exp(-2 * field[up])), rtol=1e-12)
    x, p = enumerate_model("binary")
    for site in range(N):
        up = x[:, site] > 0
        field = x[up] @ J[:, site] + H[site]
        np.testing.assert_allclose(conditional(x, p, site)[up], 1 / (1 + np.exp(-field)))


@pytest.mark.equation("7.13")
@pytest.mark.parametrize("units", ["spin", "binary"])
def test_one_update_of_the_kernel_draws_from_the_conditional(units: str) -> None:
    x, p = enumerate_model(units)
    chains, state, site = 100_000, 6, 1
    kernel = HeatBath(machine(units))
    start = torch.from_numpy(x[state]).expand(chains, N)
    sites = torch.full((chains,), site)
    drawn = kernel.update(start, sites, rng=torch.Generator().manual_seed(72))
    upper = x[:, site] == VALUES[units][1]
    same_rest = (np.delete(x, site, 1) == np.delete(x[state], site)).all(1)
    expected = float(conditional(x, p, site)[upper & same_rest][0])
    share = float((drawn[:, site] == VALUES[units][1]).double().mean())
    # Standard error below 0.0016; more than five of them.
    assert share == pytest.approx(expected, abs=0.0085)
    others = [k for k in range(N) if k != site]
    assert torch.equal(drawn[:, others], start[:, others])


@pytest.mark.equation("7.14")
def test_detailed_balance_of_one_update_and_that_it_is_a_projection() -> None:
    x, p = enumerate_model("spin")
    for site in range(N):
        w = update_matrix(x, p, site)
        np.testing.assert_allclose(w.sum(0), 1, rtol=1e-12)
        np.testing.assert_allclose(w * p, (w * p).T, atol=1e-15)
        np.testing.assert_allclose(w @ w, w, atol=1e-15)


@pytest.mark.equation("7.15")
def test_the_two_scans() -> None:
    x, p = enumerate_model("spin")
    updates = [update_matrix(x, p, site) for site in range(N)]
    random_scan = sum(updates) / N
    sequential = np.linalg.multi_dot(updates[::-1])  # unit 0 first
    found = HeatBath(machine(), scan="sequential").transition_matrix().numpy()
    np.testing.assert_allclose(found, sequential, atol=1e-13)
    found = HeatBath(machine(), scan="random").transition_matrix().numpy()
    np.testing.assert_allclose(found, np.linalg.matrix_power(random_scan, N), atol=1e-13)
    for w in (random_scan, sequential):
        np.testing.assert_allclose(w @ p, p, atol=1e-14)
    np.testing.assert_allclose(random_scan * p, (random_scan * p).T, atol=1e-15)
    assert np.abs(sequential * p - (sequential * p).T).max() > 1e-3
    assert np.linalg.eigvals(random_scan).real.min() > -1e-12


@pytest.mark.equation("7.16")
def test_the_two_rules_of_acceptance_and_their_order() -> None:
    delta = torch.linspace(-30, 30, 601, dtype=torch.float64)
    metropolis = torch.minimum(torch.ones_like(delta), torch.exp(-delta))
    heat_bath = 1 / (1 + torch.exp(delta))
    torch.testing.assert_close(Metropolis.flip_probability(-delta), metropolis)
    torch.testing.assert_close(HeatBath.flip_probability(-delta), heat_bath)
    for rule in (metropolis, heat_bath):
        torch.testing.assert_close(rule / rule.flip(0), torch.exp(-delta))
    assert bool((heat_bath <= metropolis).all())
    assert bool((metropolis / 2 <= heat_bath).all())


@pytest.mark.equation("7.16")
def test_what_the_order_means_for_correlations() -> None:
    """Peskun: for all observables at once, as an order of matrices."""
    _, p = enumerate_model("spin")
    steps = []
    for rule in (lambda r: min(1.0, r), lambda r: r / (1 + r)):
        w = np.zeros((2**N, 2**N))
        for old, site in itertools.product(range(2**N), range(N)):
            new = old ^ (1 << site)
            w[new, old] += rule(p[new] / p[old]) / N
        w += np.diag(1 - w.sum(0))
        root = np.sqrt(p)
        symmetric = w * root / root[:, None]
        np.testing.assert_allclose(symmetric, symmetric.T, atol=1e-13)
        # 2 (1 - K)^-1 - 1 on the functions of mean zero, where K has no eigenvalue one.
        away = np.eye(2**N) - np.outer(root, root)
        inverse = np.linalg.inv(np.eye(2**N) - symmetric + np.outer(root, root))
        steps.append(away @ (2 * inverse - np.eye(2**N)) @ away)
    metropolis, heat_bath = steps
    away = np.eye(2**N) - np.outer(np.sqrt(p), np.sqrt(p))
    assert np.linalg.eigvalsh(heat_bath - metropolis).min() > -1e-10
    assert np.linalg.eigvalsh(2 * metropolis + away - heat_bath).min() > -1e-10
    assert np.linalg.eigvalsh(heat_bath - metropolis).max() > 0.1


@pytest.mark.equation("7.17")
def test_clamped_units_become_fields() -> None:
    """A conditional of an RBM over all its units, from the enumerated joint distribution."""
    generator = torch.Generator().manual_seed(7)
    W = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    b = torch.randn(3, generator=generator, dtype=torch.float64)
    c = torch.randn(2, generator=generator, dtype=torch.float64)
    joint = RBM.from_parameters(W, b, c).to_boltzmann_machine()
    everything = np.array(list(itertools.product([-1.0, 1.0], repeat=5)))
    visible, hidden = everything[:, :3], everything[:, 3:]
    weight = np.exp(
        ((visible @ W.numpy()) * hidden).sum(1) + visible @ b.numpy() + hidden @ c.numpy()
    )
    known, free, values = [0, 4], [1, 2, 3], np.array([-1.0, 1.0])
    match = (everything[:, known] == values).all(1)
    expected = weight[match] / weight[match].sum()  # in the order of the free units

    full_J, full_h = joint.J.detach(), joint.h.detach()
    field = full_h[free] + full_J[free][:, known] @ torch.from_numpy(values)
    rest = HeatBath(BoltzmannMachine(full_J[free][:, free], field))
    matrix = rest.transition_matrix().numpy()
    np.testing.assert_allclose(matrix @ expected, expected, atol=1e-14)
    for column in np.linalg.matrix_power(matrix, 400).T:
        np.testing.assert_allclose(column, expected, atol=1e-10)
    # Without the field of the known units another distribution is kept.
    forgetful = HeatBath(BoltzmannMachine(full_J[free][:, free], full_h[free]))
    assert np.abs(forgetful.transition_matrix().numpy() @ expected - expected).max() > 0.01
