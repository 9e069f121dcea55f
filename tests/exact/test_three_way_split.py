"""Energies of pairs against enumeration written here, closed forms and finite differences."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lecture_pkg import exact
from lecture_pkg.exact import _three_way_split
from lecture_pkg.models import BoltzmannMachine

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
UNITS = pytest.mark.parametrize("units", ["spin", "binary"])


def random_model(n, rng, units="spin", scale=1.0, dtype=torch.float64):
    J = scale * torch.randn(n, n, dtype=torch.float64, generator=rng).triu(1)
    h = torch.randn(n, dtype=torch.float64, generator=rng)
    return BoltzmannMachine((J + J.T).to(dtype), h.to(dtype), units)


def brute_force(model):
    """List the states and -E of each, pair by pair, in NumPy."""
    x = np.array(list(itertools.product(VALUES[model.units], repeat=model.n_units)))
    J, h = model.J.detach().double().numpy(), model.h.detach().double().numpy()
    pairs = itertools.combinations(range(model.n_units), 2)
    return x, x @ h + sum((J[i, j] * x[:, i] * x[:, j] for i, j in pairs), np.zeros(len(x)))


@UNITS
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 10])
def test_quadratic_model_equals_enumeration(n, units, rng):
    model = random_model(n, rng, units)
    x, log_weights = brute_force(model)
    log_z = logsumexp(log_weights)
    q = np.exp(log_weights - log_z)

    assert float(exact.log_partition(model).detach()) == pytest.approx(log_z, abs=1e-12)
    np.testing.assert_allclose(exact.probabilities(model).detach(), q, rtol=1e-11)
    mean, correlation = exact.moments(model)
    np.testing.assert_allclose(mean, q @ x, atol=1e-12)
    np.testing.assert_allclose(correlation, x.T @ (q[:, None] * x), atol=1e-12)

    rows = torch.randint(0, 2**n, (6,), generator=rng)
    samples = torch.from_numpy(x)[rows]
    expected = np.log(q[rows]).mean()
    log_likelihood = exact.log_likelihood(model, samples).detach()
    assert float(log_likelihood) == pytest.approx(expected, abs=1e-11)


def test_free_spins(rng):
    h = torch.randn(26, dtype=torch.float64, generator=rng)
    model = BoltzmannMachine(torch.zeros(26, 26, dtype=torch.float64), h)
    expected = np.log(2 * np.cosh(h.numpy())).sum()
    assert float(exact.log_partition(model).detach()) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(exact.moments(model).mean, torch.tanh(h), atol=1e-13)


def test_ring_equals_its_transfer_matrices(rng):
    n = 30
    bonds, fields = torch.randn(2, n, dtype=torch.float64, generator=rng)
    order = torch.randperm(n, generator=rng)  # neighbours fall into different groups
    J, h = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    J[order, order.roll(-1)] = bonds
    h[order] = fields
    spins = np.array([-1.0, 1.0])
    product = np.eye(2)
    for bond, field in zip(bonds.tolist(), fields.tolist(), strict=True):
        product = product @ np.exp(field * spins[:, None] + bond * np.outer(spins, spins))
    with torch.no_grad():
        log_z = exact.log_partition(BoltzmannMachine(J + J.T, h))
    assert float(log_z) == pytest.approx(math.log(np.trace(product)), abs=1e-11)


@UNITS
def test_both_conventions_agree_through_the_map(units, rng):
    model = random_model(9, rng, units)
    other, offset = model.to_units("binary" if units == "spin" else "spin")
    difference = exact.log_partition(other) - offset - exact.log_partition(model)
    assert abs(float(difference.detach())) < 1e-12
    assert torch.allclose(exact.probabilities(other), exact.probabilities(model), rtol=1e-11)


@UNITS
def test_gradients_equal_finite_differences(units, rng):
    model = random_model(6, rng, units)
    samples = exact.states(6, units)[torch.randint(0, 64, (5,), generator=rng)]
    for function in (exact.log_partition, lambda m: exact.log_likelihood(m, samples)):
        gradients = torch.autograd.grad(function(model), tuple(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            for i, slope in enumerate(gradient.tolist()):
                sides = []
                for step in (1e-5, -1e-5):
                    parameter.data[i] += step
                    sides.append(float(function(model).detach()))
                    parameter.data[i] -= step
                assert slope == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8)


def test_gradients_do_not_depend_on_the_blocks(rng, monkeypatch):
    model = random_model(8, rng)
    whole = torch.autograd.grad(exact.log_partition(model), tuple(model.parameters()))
    monkeypatch.setattr(_three_way_split, "_BLOCK_ENTRIES", 2**3)  # rows of A one by one
    blocks = torch.autograd.grad(exact.log_partition(model), tuple(model.parameters()))
    for one, other in zip(whole, blocks, strict=True):
        assert torch.allclose(one, other, atol=1e-13)


@UNITS
@pytest.mark.parametrize("n", [6, 11])
def test_strong_couplings_and_fields_stay_finite_and_right(n, units, rng):
    signs = 2 * torch.randint(0, 2, (n, n), generator=rng).double().triu(1) - 1
    J = 20 * signs.triu(1)
    h = torch.linspace(-100, 100, n, dtype=torch.float64)
    model = BoltzmannMachine(J + J.T, h, units)
    x, log_weights = brute_force(model)
    q = np.exp(log_weights - logsumexp(log_weights))
    log_z = float(exact.log_partition(model).detach())
    assert log_z == pytest.approx(logsumexp(log_weights), rel=1e-14)
    np.testing.assert_allclose(exact.moments(model).mean, q @ x, atol=1e-11)


@UNITS
def test_rows_lost_to_underflow_are_summed_again(units, rng, monkeypatch):
    """The first group pulls the middle one up, the last group pulls it down, equally hard."""
    J = torch.zeros(9, 9, dtype=torch.float64)
    J[:3, 3:6], J[3:6, 6:] = 150.0, -150.0
    J = J + J.T
    h = torch.tensor([300.0] * 3 + [0.3, -0.2, 0.1] + [300.0] * 3, dtype=torch.float64)
    model = BoltzmannMachine(J, h, units)
    x, log_weights = brute_force(model)
    q = np.exp(log_weights - logsumexp(log_weights))

    log_z = exact.log_partition(model)
    assert float(log_z.detach()) == pytest.approx(logsumexp(log_weights), rel=1e-14)
    statistics = torch.autograd.grad(log_z, model.h)[0]
    np.testing.assert_allclose(statistics, q @ x, atol=1e-11)
    correlation = exact.moments(model).correlation
    np.testing.assert_allclose(correlation, x.T @ (q[:, None] * x), atol=1e-11)

    # Without the second pass the same model goes wrong, so the certificate is what saves it.
    monkeypatch.setattr(_three_way_split, "_LOG_PRECISION", math.inf)
    assert abs(float((exact.log_partition(model) - log_z).detach())) > 1.0


def test_couplings_in_one_triangle_count_as_much_as_in_two(rng):
    """The quadratic form is the same for both, so log Z must be."""

    class OneTriangle(BoltzmannMachine):
        @property
        def J(self):
            return 2 * super().J.triu()

    model = random_model(7, rng)
    one = OneTriangle(model.J, model.h)
    assert torch.allclose(exact.log_partition(one), exact.log_partition(model), rtol=1e-14)
