"""Equations of chapter 4: the restricted Boltzmann machine, with every sum written out."""

import itertools
import math

import numpy as np
import pytest
import torch

from lecture_pkg import exact
from lecture_pkg.models import RBM

N, N_HIDDEN = 4, 3
X = np.array(list(itertools.product([-1.0, 1.0], repeat=N)))  # (16, 4)
Z = np.array(list(itertools.product([-1.0, 1.0], repeat=N_HIDDEN)))  # (8, 3)
DRAW = np.random.default_rng(4)
W = DRAW.normal(0, 0.8, (N, N_HIDDEN))
B, C = DRAW.normal(0, 0.5, N), DRAW.normal(0, 0.5, N_HIDDEN)


def model() -> RBM:
    return RBM.from_parameters(*map(torch.from_numpy, (W, B, C)))


def exponent(x: np.ndarray, z: np.ndarray) -> float:
    """xᵀ W z + bᵀ x + cᵀ z, term by term."""
    pairs = sum(W[k, m] * x[k] * z[m] for k in range(N) for m in range(N_HIDDEN))
    return pairs + sum(B[k] * x[k] for k in range(N)) + sum(C[m] * z[m] for m in range(N_HIDDEN))


def joint() -> np.ndarray:
    """q(x, z) by the definition: rows x, columns z."""
    weights = np.array([[math.exp(exponent(x, z)) for z in Z] for x in X])
    return weights / weights.sum()


def interactions() -> dict[tuple[int, ...], float]:
    """Expand -E of the package in products of the seven units: units 0-3 are x, 4-6 are z."""
    units = np.array([[*x, *z] for x in X for z in Z])  # (128, 7)
    with torch.no_grad():
        energy = model().energy(
            torch.from_numpy(units[:, :N].copy()), torch.from_numpy(units[:, N:].copy())
        )
    subsets = itertools.chain.from_iterable(
        itertools.combinations(range(N + N_HIDDEN), size) for size in range(N + N_HIDDEN + 1)
    )
    return {
        subset: float(-energy.numpy() @ units[:, list(subset)].prod(1) / len(units))
        for subset in subsets
    }


@pytest.mark.equation("4.1")
def test_the_energy_holds_these_terms_and_no_other() -> None:
    expected = {(k,): B[k] for k in range(N)} | {(N + m,): C[m] for m in range(N_HIDDEN)}
    expected |= {(k, N + m): W[k, m] for k in range(N) for m in range(N_HIDDEN)}
    found = interactions()
    assert len(found) == 128
    for subset, value in found.items():
        assert value == pytest.approx(expected.get(subset, 0.0), abs=1e-14)


@pytest.mark.equation("4.2")
def test_four_data_units_and_three_hidden_units_are_joined_across_only() -> None:
    joined = {pair for pair, value in interactions().items() if abs(value) > 1e-12}
    joined = {pair for pair in joined if len(pair) == 2}
    x, z = range(4), range(4, 7)
    assert joined == set(itertools.product(x, z))
    assert model().n_visible == len(x)
    assert model().n_hidden == len(z)


@pytest.mark.equation("4.3")
def test_probabilities_sum_to_one_and_their_ratios_are_the_exponents() -> None:
    x, z = torch.from_numpy(X.repeat(8, 0)), torch.from_numpy(np.tile(Z, (16, 1)))
    with torch.no_grad():
        log_q = -model().energy(x, z) - exact.log_partition(model())
    np.testing.assert_allclose(log_q.exp().reshape(16, 8), joint(), rtol=1e-12)
    assert float(log_q.exp().sum()) == pytest.approx(1, abs=1e-13)


@pytest.mark.equation("4.4")
def test_summing_the_data_units_out_leaves_a_product_over_rows() -> None:
    weights = np.array([[math.exp(exponent(x, z)) for z in Z] for x in X])
    products = [
        math.prod(2 * math.cosh(W[k] @ z + B[k]) for k in range(N)) * math.exp(C @ z) for z in Z
    ]
    np.testing.assert_allclose(weights.sum(0), products, rtol=1e-13)
    hidden = model().hidden_free_energy(torch.from_numpy(Z)).detach().numpy()
    np.testing.assert_allclose(np.exp(-hidden), weights.sum(0), rtol=1e-13)


@pytest.mark.equation("4.5")
def test_summing_the_hidden_units_out_leaves_a_product_over_columns() -> None:
    weights = np.array([[math.exp(exponent(x, z)) for z in Z] for x in X])
    products = [
        math.prod(2 * math.cosh(W[:, m] @ x + C[m]) for m in range(N_HIDDEN)) * math.exp(B @ x)
        for x in X
    ]
    np.testing.assert_allclose(weights.sum(1), products, rtol=1e-13)
    np.testing.assert_allclose(exact.probabilities(model()).detach(), joint().sum(1), rtol=1e-12)


@pytest.mark.equation("4.6")
def test_given_the_hidden_units_the_data_units_are_independent() -> None:
    conditional = joint() / joint().sum(0)  # columns: given z
    for column, z in zip(conditional.T, Z, strict=True):
        field = W @ z + B
        singles = np.exp(X * field) / (2 * np.cosh(field))  # q(x_k | z), (16, 4)
        np.testing.assert_allclose(column, singles.prod(1), rtol=1e-12)
        marginals = np.array([[column[X[:, k] == x[k]].sum() for k in range(N)] for x in X])
        np.testing.assert_allclose(singles, marginals, rtol=1e-12)
    mean = model().mean_visible(torch.from_numpy(Z)).detach()
    np.testing.assert_allclose(mean, conditional.T @ X, atol=1e-14)


@pytest.mark.equation("4.7")
def test_given_the_data_the_hidden_units_are_independent() -> None:
    conditional = joint() / joint().sum(1, keepdims=True)  # rows: given x
    for row, x in zip(conditional, X, strict=True):
        field = W.T @ x + C
        singles = np.exp(Z * field) / (2 * np.cosh(field))  # q(z_l | x), (8, 3)
        np.testing.assert_allclose(row, singles.prod(1), rtol=1e-12)
        marginals = np.array([[row[Z[:, m] == z[m]].sum() for m in range(N_HIDDEN)] for z in Z])
        np.testing.assert_allclose(singles, marginals, rtol=1e-12)
    mean = model().mean_hidden(torch.from_numpy(X)).detach()
    np.testing.assert_allclose(mean, conditional @ Z, atol=1e-14)


def test_with_couplings_inside_the_hidden_layer_the_independence_is_lost() -> None:
    weights = joint() * np.exp(0.8 * Z[:, 0] * Z[:, 1])  # a coupling of 0.8 between z_1 and z_2
    row = weights[5] / weights[5].sum()
    marginals = np.array([[row[Z[:, m] == z[m]].sum() for m in range(N_HIDDEN)] for z in Z])
    assert np.abs(row - marginals.prod(1)).max() > 0.05
