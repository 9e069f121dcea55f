"""Energies that are not of pairs, against enumeration written here."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lecture_pkg import exact
from lecture_pkg.exact import _state_by_state
from lecture_pkg.models import BoltzmannMachine

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
UNITS = pytest.mark.parametrize("units", ["spin", "binary"])


def brute_force(model):
    """List the states and -E of each, pair by pair, in NumPy."""
    x = np.array(list(itertools.product(VALUES[model.units], repeat=model.n_units)))
    J, h = model.J.detach().double().numpy(), model.h.detach().double().numpy()
    pairs = itertools.combinations(range(model.n_units), 2)
    return x, x @ h + sum((J[i, j] * x[:, i] * x[:, j] for i, j in pairs), np.zeros(len(x)))


class TableModel:
    """An energy that no pair of units can express: one number for each state."""

    def __init__(self, table, units):
        self.table, self.units, self.n_units = table, units, int(math.log2(len(table)))

    def energy(self, x):
        digits = ((x + 1) / 2 if self.units == "spin" else x).long()
        return self.table[digits @ (2 ** torch.arange(self.n_units - 1, -1, -1))]


class WithProduct(BoltzmannMachine):
    """J and h are only a part of this energy: -E has Π x too."""

    def energy(self, x):
        return super().energy(x) - 0.7 * x.to(self.h.dtype).prod(-1)


@UNITS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_couplings_that_are_not_the_whole_energy_do_not_decide(units, dtype, rng):
    n = 7
    h = torch.randn(n, dtype=torch.float64, generator=rng).to(dtype)
    model = WithProduct(torch.zeros(n, n, dtype=dtype), h, units)
    x, log_weights = brute_force(model)
    log_weights = log_weights + 0.7 * x.prod(1)
    log_z, tolerance = logsumexp(log_weights), 1e-12 if dtype == torch.float64 else 1e-5
    q = np.exp(log_weights - log_z)
    assert float(exact.log_partition(model).detach()) == pytest.approx(log_z, abs=tolerance)
    np.testing.assert_allclose(exact.probabilities(model).detach(), q, atol=tolerance)
    np.testing.assert_allclose(exact.moments(model).mean, q @ x, atol=tolerance)


@UNITS
@pytest.mark.parametrize("block", [3, 2**15])
def test_any_other_energy_is_enumerated(units, block, rng, monkeypatch):
    monkeypatch.setattr(_state_by_state, "_BLOCK_STATES", block)
    table = 300 * torch.randn(32, dtype=torch.float64, generator=rng)
    table[7] = table[21] = table.min() - 1  # two states share most of the probability
    table.requires_grad_()
    model = TableModel(table, units)
    x = np.array(list(itertools.product(VALUES[units], repeat=5)))
    log_weights = -table.detach().numpy()
    q = np.exp(log_weights - logsumexp(log_weights))

    log_z = exact.log_partition(model)
    assert float(log_z.detach()) == pytest.approx(logsumexp(log_weights), rel=1e-14)
    np.testing.assert_allclose(torch.autograd.grad(log_z, table)[0], -q, atol=1e-12)
    np.testing.assert_allclose(exact.probabilities(model).detach(), q, atol=1e-12)
    mean, correlation = exact.moments(model)
    np.testing.assert_allclose(mean, q @ x, atol=1e-11)
    np.testing.assert_allclose(correlation, x.T @ (q[:, None] * x), atol=1e-11)
    log_likelihood = exact.log_likelihood(model, torch.from_numpy(x[[7, 7, 3]])).detach()
    expected = np.log(q[7]) * 2 / 3 + (log_weights[3] - logsumexp(log_weights)) / 3
    assert float(log_likelihood) == pytest.approx(expected, rel=1e-12)
