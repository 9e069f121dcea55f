"""Equations of section 2.5: the Boltzmann machine, with every sum written out over its states."""

import itertools
import math

import numpy as np
import pytest
import torch

from lecture_pkg.models import BoltzmannMachine

N = 5
STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=N)))  # (32, 5)
PAIRS = list(itertools.combinations(range(N), 2))
DATA = STATES[[3, 3, 8, 17, 17, 17, 29]]  # seven samples, some of them twice


def parameters(seed: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Couplings of both signs, one for each pair, and fields."""
    draw = np.random.default_rng(seed)
    return draw.normal(0, 0.8, len(PAIRS)), draw.normal(0, 0.5, N)


def exponent(x: np.ndarray, couplings: np.ndarray, fields: np.ndarray) -> float:
    """Σ_{k≠l} J_kl x_k x_l with each pair once, plus Σ_k h_k x_k."""
    pairs = sum(J * x[k] * x[m] for J, (k, m) in zip(couplings, PAIRS, strict=True))
    return pairs + sum(h * unit for h, unit in zip(fields, x, strict=True))


def log_partition(couplings: np.ndarray, fields: np.ndarray) -> float:
    return math.log(math.fsum(math.exp(exponent(x, couplings, fields)) for x in STATES))


def model_probabilities(couplings: np.ndarray, fields: np.ndarray) -> np.ndarray:
    log_z = log_partition(couplings, fields)
    return np.array([math.exp(exponent(x, couplings, fields) - log_z) for x in STATES])


def divergence(couplings: np.ndarray, fields: np.ndarray) -> float:
    """D_KL(p0‖q) from its definition, over the states that the data show."""
    seen, counts = np.unique(DATA, axis=0, return_counts=True)
    log_z = log_partition(couplings, fields)
    p0 = counts / len(DATA)
    log_q = np.array([exponent(x, couplings, fields) - log_z for x in seen])
    return float(p0 @ (np.log(p0) - log_q))


def machine(couplings: np.ndarray, fields: np.ndarray) -> BoltzmannMachine:
    J = np.zeros((N, N))
    for value, (k, m) in zip(couplings, PAIRS, strict=True):
        J[k, m] = J[m, k] = value
    return BoltzmannMachine(torch.from_numpy(J), torch.from_numpy(fields))


def slope(index: int, of: str) -> float:
    """Central difference of the divergence in one field or one coupling."""
    couplings, fields = parameters()
    step = 1e-5
    values = []
    for sign in (1, -1):
        moved = {"couplings": couplings.copy(), "fields": fields.copy()}
        moved[of][index] += sign * step
        values.append(divergence(moved["couplings"], moved["fields"]))
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.equation("2.25")
def test_energy_counts_each_pair_once_and_masses_sum_to_one() -> None:
    couplings, fields = parameters()
    model = machine(couplings, fields)
    expected = [exponent(x, couplings, fields) for x in STATES]
    with torch.no_grad():
        energy = model.energy(torch.from_numpy(STATES)).numpy()
    np.testing.assert_allclose(-energy, expected, atol=1e-13)
    assert np.exp(-energy - log_partition(couplings, fields)).sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.equation("2.26")
def test_partition_function_of_a_ring_by_transfer_matrix() -> None:
    """Z summed over states against the trace of a product of 2×2 matrices, another theory."""
    _, fields = parameters()
    ring = [0.7, -0.4, 1.1, -0.2, 0.5]
    couplings = np.zeros(len(PAIRS))
    for k, value in enumerate(ring):
        couplings[PAIRS.index(tuple(sorted((k, (k + 1) % N))))] = value
    product = np.eye(2)
    for k, value in enumerate(ring):
        transfer = np.array(
            [
                [math.exp(value * s * t + fields[k] * s) for t in (-1, 1)]  # to unit k + 1
                for s in (-1, 1)
            ]
        )
        product = product @ transfer
    assert log_partition(couplings, fields) == pytest.approx(math.log(np.trace(product)), abs=1e-12)


@pytest.mark.equation("2.27")
def test_divergence_is_energy_plus_log_partition_up_to_a_constant() -> None:
    """The dropped term is -H(p0), the same for every θ."""
    _, counts = np.unique(DATA, axis=0, return_counts=True)
    p0 = counts / len(DATA)
    negative_entropy = float(p0 @ np.log(p0))
    for seed in (25, 26, 27):
        couplings, fields = parameters(seed)
        objective = -np.mean([exponent(x, couplings, fields) for x in DATA])
        objective += log_partition(couplings, fields)
        assert divergence(couplings, fields) - objective == pytest.approx(
            negative_entropy, abs=1e-12
        )


@pytest.mark.equation("2.28")
def test_slope_in_a_field_is_model_mean_minus_data_mean() -> None:
    q = model_probabilities(*parameters())
    for k in range(N):
        expected = -DATA[:, k].mean() + q @ STATES[:, k]
        assert slope(k, "fields") == pytest.approx(expected, abs=1e-8)


@pytest.mark.equation("2.29")
def test_slope_in_a_coupling_is_model_mean_minus_data_mean() -> None:
    q = model_probabilities(*parameters())
    for index, (k, m) in enumerate(PAIRS):
        expected = -(DATA[:, k] * DATA[:, m]).mean() + q @ (STATES[:, k] * STATES[:, m])
        assert slope(index, "couplings") == pytest.approx(expected, abs=1e-8)


def test_stripes_are_the_ground_states_of_pairs() -> None:
    """The theorem of section 2.5, over all 65 536 states with integers."""
    x = ((np.arange(2**16)[:, None] >> np.arange(16)) & 1) * 2 - 1  # (65536, 16)
    row, column = np.arange(16) // 4, np.arange(16) % 4
    weights = np.where((row[:, None] == row) | (column[:, None] == column), 3, -1)
    np.fill_diagonal(weights, 0)
    exponents = ((x @ weights) * x).sum(1)
    best = x[exponents == exponents.max()].reshape(-1, 4, 4)
    is_row_pattern = (best == best[:, :, :1]).all((1, 2))
    is_column_pattern = (best == best[:, :1, :]).all((1, 2))
    assert len(best) == 30
    assert (is_row_pattern | is_column_pattern).all()
