"""Exact results against enumeration written here, closed forms and finite differences."""

import itertools
import math
import time

import numpy as np
import psutil
import pytest
import torch
from scipy.special import logsumexp

from lecture_pkg import exact
from lecture_pkg.models import BoltzmannMachine
from lecture_pkg.models.gaussian import Gaussian

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


class TableModel:
    """An energy that no pair of units can express: one number for each state."""

    def __init__(self, table, units):
        self.table, self.units, self.n_units = table, units, int(math.log2(len(table)))

    def energy(self, x):
        digits = ((x + 1) / 2 if self.units == "spin" else x).long()
        return self.table[digits @ (2 ** torch.arange(self.n_units - 1, -1, -1))]


@UNITS
def test_states_count_in_binary(units):
    expected = list(itertools.product(VALUES[units], repeat=4))
    assert exact.states(4, units).tolist() == [list(x) for x in expected]


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
    monkeypatch.setattr(exact, "_BLOCK_ENTRIES", 2**3)  # rows of A one by one
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
    monkeypatch.setattr(exact, "_LOG_PRECISION", math.inf)
    assert abs(float((exact.log_partition(model) - log_z).detach())) > 1.0


def test_float32_is_computed_in_float64_and_returned_in_float32(rng):
    model = random_model(8, rng, dtype=torch.float32)
    log_z = logsumexp(brute_force(model)[1])
    result = exact.log_partition(model)
    assert result.dtype == torch.float32
    assert float(result.detach()) == float(np.float32(log_z))
    assert {t.dtype for t in exact.moments(model)} == {torch.float32}
    assert exact.probabilities(model).dtype == torch.float32
    x = -torch.ones(2, 8)
    assert exact.log_likelihood(model, x).dtype == torch.float32
    result.backward()
    assert model.h.grad.dtype == torch.float32


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


def test_couplings_in_one_triangle_count_as_much_as_in_two(rng):
    """The quadratic form is the same for both, so log Z must be."""

    class OneTriangle(BoltzmannMachine):
        @property
        def J(self):
            return 2 * super().J.triu()

    model = random_model(7, rng)
    one = OneTriangle(model.J, model.h)
    assert torch.allclose(exact.log_partition(one), exact.log_partition(model), rtol=1e-14)


@UNITS
@pytest.mark.parametrize("block", [3, 2**15])
def test_any_other_energy_is_enumerated(units, block, rng, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_STATES", block)
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


@pytest.mark.bad_input
def test_more_time_than_allowed_is_refused_with_the_estimate(rng):
    with pytest.raises(ValueError, match=r"2\^40 states: about \d+ s of work.*time_limit of 1 s"):
        exact.log_partition(random_model(40, rng), time_limit=1)
    with pytest.raises(ValueError, match=r"2\^40 states.*time_limit"):
        exact.moments(random_model(40, rng), time_limit=1)
    slow = TableModel(torch.zeros(2**20, dtype=torch.float64), "spin")
    for call in (exact.log_partition, exact.moments, exact.probabilities):
        with pytest.raises(ValueError, match=r"2\^20 states.*time_limit"):
            call(slow, time_limit=1e-6)


@pytest.mark.bad_input
def test_more_memory_than_there_is_is_refused_with_the_estimate(rng):
    available = psutil.virtual_memory().available
    n = math.ceil(math.log2(available)) - 4  # 32 bytes for each state are more than that
    for call in (
        lambda: exact.states(n, "spin"),
        lambda: exact.probabilities(random_model(n, rng)),
    ):
        with pytest.raises(ValueError, match=rf"2\^{n} states.*GiB of memory.*available"):
            call()
    with pytest.raises(ValueError, match="GiB of memory"):
        exact.log_partition(random_model(60, rng), time_limit=math.inf)


@pytest.mark.bad_input
@pytest.mark.parametrize("n", [200, 2000])
def test_hopeless_sizes_are_refused_at_once(n, rng):
    """No table is built and no float overflows on the way to the refusal."""
    quadratic = random_model(n, rng)
    general = TableModel(torch.zeros(2, dtype=torch.float64), "spin")
    general.n_units = n
    general.energy = lambda x: pytest.fail("no state is worth a trial")
    with pytest.raises(ValueError, match=rf"2\^{n} states: more than 10\^\d+ GiB of memory"):
        exact.states(n, "spin")
    for model in (quadratic, general):
        with pytest.raises(ValueError, match=r"more than 10\^\d+ GiB of memory"):
            exact.probabilities(model)
        for call in (exact.log_partition, exact.moments):
            start = time.perf_counter()
            with pytest.raises(ValueError, match=rf"2\^{n} states: more than 10\^\d+ (s|GiB) of"):
                call(model, time_limit=math.inf)
            assert time.perf_counter() - start < 1.0
    with pytest.raises(ValueError, match=r"more than 10\^\d+ (s|GiB) of"):
        exact.log_likelihood(quadratic, torch.ones(2, n))


@pytest.mark.bad_input
def test_the_limit_reported_is_the_one_that_was_set():
    slow = TableModel(torch.zeros(2**20, dtype=torch.float64), "spin")
    with pytest.raises(ValueError, match=r"time_limit of 6e-06 s"):
        exact.moments(slow, time_limit=6e-6)


@pytest.mark.bad_input
def test_the_second_pass_obeys_the_time_limit_too(rng, monkeypatch):
    monkeypatch.setattr(exact, "_LOG_SMALLEST", 700.0)  # every row is in doubt
    with pytest.raises(ValueError, match="time_limit"):
        exact.log_partition(random_model(20, rng), time_limit=1e-3)


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    model = random_model(3, rng)
    with pytest.raises(ValueError, match=r"2 \* x - 1"):
        exact.log_likelihood(model, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="shape"):
        exact.log_likelihood(model, torch.ones(2, 4))
    with pytest.raises(ValueError, match="at least one sample"):
        exact.log_likelihood(model, torch.ones(0, 3))
    with pytest.raises(TypeError, match=r"torch\.as_tensor"):
        exact.log_likelihood(model, [[1.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match=r"spin.*binary"):
        exact.states(3, "ising")
    with pytest.raises(ValueError, match="n must be at least 1"):
        exact.states(0, "spin")
    with pytest.raises(TypeError, match="n must be an integer"):
        exact.states(3.0, "spin")
    x = torch.ones(2, 3)
    doors = (
        exact.log_partition,
        exact.probabilities,
        exact.moments,
        lambda model, **limit: exact.log_likelihood(model, x, **limit),
    )
    for call in doors:
        for wrong in ("model", Gaussian(torch.zeros(3).double(), torch.eye(3).double())):
            with pytest.raises(TypeError, match=r"energy\(x\), units and n_units.*without"):
                call(wrong)
        for time_limit in (0, -1.0, math.nan):
            with pytest.raises(ValueError, match="time_limit must be positive"):
                call(model, time_limit=time_limit)
    model.h.data[1] = math.nan
    with pytest.raises(ValueError, match="h must be finite"):
        exact.log_partition(model)
