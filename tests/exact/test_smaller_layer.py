"""RBMs against enumeration of both layers, the Boltzmann machine of all units, and closed forms."""

import itertools
import math
import time

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lecture_pkg import exact
from lecture_pkg.exact import _smaller_layer
from lecture_pkg.models import RBM

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
UNITS = pytest.mark.parametrize("units", ["spin", "binary"])
SIZES = pytest.mark.parametrize(
    ("n_visible", "n_hidden"), [(1, 1), (1, 6), (5, 1), (4, 3), (3, 7), (8, 5)]
)


def random_rbm(n_visible, n_hidden, units, rng, scale=1.0, dtype=torch.float64):
    W = scale * torch.randn(n_visible, n_hidden, dtype=torch.float64, generator=rng)
    b = torch.randn(n_visible, dtype=torch.float64, generator=rng)
    c = torch.randn(n_hidden, dtype=torch.float64, generator=rng)
    return RBM.from_parameters(W.to(dtype), b.to(dtype), c.to(dtype), units)


def strong_rbm(n_visible, n_hidden, units, rng, dtype=torch.float64):
    """Couplings of 20 with either sign, biases of up to 100."""
    W = 40.0 * torch.randint(0, 2, (n_visible, n_hidden), generator=rng) - 20.0
    b, c = torch.linspace(-100, 90, n_visible), torch.linspace(95, -100, n_hidden)
    return RBM.from_parameters(*(t.to(dtype) for t in (W, b, c)), units)


def listed(n, units):
    return np.array(list(itertools.product(VALUES[units], repeat=n)))


def brute_force(model):
    """List -E of all pairs of states, term by term, in NumPy: rows x, columns z."""
    x, z = listed(model.n_visible, model.units), listed(model.n_hidden, model.units)
    W, b, c = (t.detach().double().numpy() for t in (model.W, model.b, model.c))
    log_weights = (x @ b)[:, None] + z @ c
    for k, m in itertools.product(range(len(b)), range(len(c))):
        log_weights += W[k, m] * np.outer(x[:, k], z[:, m])
    return x, z, log_weights


@UNITS
@SIZES
def test_quantities_equal_enumeration_of_both_layers(n_visible, n_hidden, units, rng):
    model = random_rbm(n_visible, n_hidden, units, rng)
    x, z, log_weights = brute_force(model)
    log_z = logsumexp(log_weights)
    q = np.exp(log_weights - log_z)

    assert float(exact.log_partition(model).detach()) == pytest.approx(log_z, abs=1e-12)
    np.testing.assert_allclose(exact.probabilities(model).detach(), q.sum(1), rtol=1e-11)
    visible, hidden, correlation = exact.moments(model)
    np.testing.assert_allclose(visible, q.sum(1) @ x, atol=1e-12)
    np.testing.assert_allclose(hidden, q.sum(0) @ z, atol=1e-12)
    np.testing.assert_allclose(correlation, x.T @ q @ z, atol=1e-12)

    rows = torch.randint(0, len(x), (6,), generator=rng)
    expected = np.log(q.sum(1)[rows]).mean()
    value = exact.log_likelihood(model, torch.from_numpy(x)[rows]).detach()
    assert float(value) == pytest.approx(expected, abs=1e-11)


@UNITS
@SIZES
def test_gradients_equal_autograd_of_the_full_enumeration(n_visible, n_hidden, units, rng):
    model = random_rbm(n_visible, n_hidden, units, rng)
    x, z = (torch.from_numpy(listed(n, units)) for n in (n_visible, n_hidden))
    samples = x[torch.randint(0, len(x), (5,), generator=rng)]
    W, b, c = model.parameters()

    def log_weights(rows):
        return rows @ W @ z.T + (rows @ b)[:, None] + z @ c

    log_z = log_weights(x).flatten().logsumexp(0)
    likelihood = log_weights(samples).logsumexp(1).mean() - log_z
    for truth, value in (
        (log_z, 3 * exact.log_partition(model)),
        (likelihood, 3 * exact.log_likelihood(model, samples)),
    ):
        expected = torch.autograd.grad(truth, (W, b, c), retain_graph=True)
        for one, other in zip(torch.autograd.grad(value, (W, b, c)), expected, strict=True):
            assert torch.allclose(one, 3 * other, rtol=0, atol=1e-10)


@UNITS
@pytest.mark.parametrize(("n_visible", "n_hidden"), [(11, 6), (5, 12)])
def test_the_boltzmann_machine_of_all_units_has_the_same_sum(n_visible, n_hidden, units, rng):
    model = random_rbm(n_visible, n_hidden, units, rng)
    machine = model.to_boltzmann_machine()
    difference = exact.log_partition(machine) - exact.log_partition(model)
    assert abs(float(difference.detach())) < 1e-11
    mean, correlation = exact.moments(machine)
    moments = exact.moments(model)
    assert torch.allclose(torch.cat([moments.visible, moments.hidden]), mean, atol=1e-12)
    block = correlation[:n_visible, n_visible:]
    assert torch.allclose(moments.correlation, block, atol=1e-12)


@UNITS
def test_uncoupled_layers_have_a_closed_form(units, rng):
    """20 hidden units: several blocks, and units of every strength up to far beyond one run."""
    b = torch.linspace(-1500, 1400, 40, dtype=torch.float64)
    c = torch.linspace(-3, 4, 20, dtype=torch.float64)
    model = RBM.from_parameters(torch.zeros(40, 20, dtype=torch.float64), b, c, units)
    fields = torch.cat([b, c]).numpy()
    values = np.array(VALUES[units])
    expected = logsumexp(np.outer(values, fields), axis=0).sum()
    with torch.no_grad():
        log_z = exact.log_partition(model)
    assert float(log_z) == pytest.approx(expected, rel=1e-14)


def test_all_parameters_zero():
    model = RBM(9, 4, dtype=torch.float64)
    assert float(exact.log_partition(model).detach()) == pytest.approx(13 * math.log(2), rel=1e-14)
    assert all(float(t.abs().max()) < 1e-14 for t in exact.moments(model))


@UNITS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_visible", "n_hidden"), [(7, 4), (40, 9), (6, 30)])
def test_strong_couplings_and_biases_stay_finite_and_right(n_visible, n_hidden, dtype, units, rng):
    """Single units reach |F| = 700 and more, so that runs are cut and units stand alone."""
    model = strong_rbm(n_visible, n_hidden, units, rng, dtype)
    W, b, c = (t.detach().double().numpy() for t in (model.W, model.b, model.c))
    if n_visible < n_hidden:
        W, b, c = W.T, c, b
    z = listed(len(c), units)  # of the smaller layer
    field = z @ W.T + b
    log_weights = z @ c + logsumexp([u * field for u in VALUES[units]], axis=0).sum(1)
    truth = logsumexp(log_weights)
    q = np.exp(log_weights - truth)
    mean = np.tanh(field) if units == "spin" else (1 + np.tanh(field / 2)) / 2
    correlation = mean.T @ (q[:, None] * z)

    log_z = exact.log_partition(model)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-7
    assert log_z.dtype == dtype
    assert float(log_z.detach()) == pytest.approx(truth, rel=tolerance)
    slopes = torch.autograd.grad(log_z, tuple(model.parameters()))
    moments = exact.moments(model)
    by_layer = (q @ mean, q @ z) if n_visible >= n_hidden else (q @ z, q @ mean)
    expected = (correlation if n_visible >= n_hidden else correlation.T, *by_layer)
    for given in (slopes, (moments.correlation, moments.visible, moments.hidden)):
        for one, other in zip(given, expected, strict=True):
            assert one.dtype == dtype
            np.testing.assert_allclose(one, other, atol=1e4 * tolerance)
    if n_visible <= 10:
        likely = torch.from_numpy(listed(n_visible, units))[:1]
        assert math.isfinite(float(exact.log_likelihood(model, likely).detach()))
        total = exact.probabilities(model).sum().detach()
        assert float(total) == pytest.approx(1, abs=100 * tolerance)


@UNITS
@pytest.mark.parametrize(
    ("name", "value"), [("_BLOCK_SIDE", 4), ("_GROUP", 1), ("_GROUP", 5), ("_LOG_RANGE", None)]
)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_neither_blocks_nor_groups_nor_threads_change_the_result(
    n_threads, name, value, units, rng, monkeypatch
):
    model = random_rbm(14, 7, units, rng, scale=0.3)
    parameters = tuple(model.parameters())

    def everything():
        slopes = torch.autograd.grad(exact.log_partition(model), parameters)
        return [exact.log_partition(model).detach(), *slopes, *exact.moments(model)]

    whole = everything()
    if value is None:  # one unit stands alone, and the others share runs that are cut short
        bounds = _smaller_layer._bounds(model.W, model.b, units).detach().sort().values
        value = float(bounds[-2:].mean())
        assert bounds[:2].sum() < value < bounds[:5].sum()
    monkeypatch.setattr(_smaller_layer, name, value)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        for one, other in zip(whole, everything(), strict=True):
            assert torch.allclose(one, other, atol=1e-12)
        assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)


@UNITS
def test_both_conventions_agree_through_the_map(units, rng):
    model = random_rbm(6, 9, units, rng)
    other, offset = model.to_units("binary" if units == "spin" else "spin")
    difference = exact.log_partition(other) - offset - exact.log_partition(model)
    assert abs(float(difference.detach())) < 1e-12
    assert torch.allclose(exact.probabilities(other), exact.probabilities(model), rtol=1e-11)


@UNITS
def test_float32_is_computed_in_float64_and_returned_in_float32(units, rng):
    model = random_rbm(6, 4, units, rng, dtype=torch.float32)
    log_z = logsumexp(brute_force(model)[2])
    result = exact.log_partition(model)
    assert result.dtype == torch.float32
    assert float(result.detach()) == float(np.float32(log_z))
    assert {t.dtype for t in exact.moments(model)} == {torch.float32}
    assert exact.probabilities(model).dtype == torch.float32
    assert exact.log_likelihood(model, torch.ones(2, 6)).dtype == torch.float32
    result.backward()
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.bad_input
def test_what_is_out_of_reach_is_refused_at_once(rng):
    large = random_rbm(784, 45, "binary", rng)
    for call in (exact.log_partition, exact.moments):
        with pytest.raises(ValueError, match=r"45 units mean 2\^45 states.*time_limit of 600 s"):
            call(large)
    with pytest.raises(ValueError, match=r"2\^784 states: more than 10\^\d+ GiB of memory"):
        exact.probabilities(large)
    with pytest.raises(ValueError, match=r"time_limit of 0.001 s"):
        exact.log_partition(random_rbm(30, 25, "spin", rng), time_limit=1e-3)
    hopeless = random_rbm(1100, 1000, "spin", rng, scale=0.01)
    for call in (exact.log_partition, exact.moments):
        start = time.perf_counter()
        with pytest.raises(ValueError, match=r"2\^1000 states: more than 10\^\d+ (s|GiB) of"):
            call(hopeless, time_limit=math.inf)
        assert time.perf_counter() - start < 1.0


@pytest.mark.bad_input
def test_the_time_of_the_gradient_counts(rng):
    model = random_rbm(60, 20, "binary", rng)
    with torch.no_grad():
        exact.log_partition(model, time_limit=0.2 / torch.get_num_threads())
    with pytest.raises(ValueError, match="time_limit"):
        exact.log_partition(model, time_limit=0.2 / torch.get_num_threads())


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    model = random_rbm(3, 2, "spin", rng)
    with pytest.raises(ValueError, match=r"2 \* x - 1"):
        exact.log_likelihood(model, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"x must have shape \(\*, 3\)"):
        exact.log_likelihood(model, torch.ones(2, 2))
    with pytest.raises(ValueError, match="at least one sample"):
        exact.log_likelihood(model, torch.ones(0, 3))
    for call in (exact.log_partition, exact.probabilities, exact.moments):
        with pytest.raises(ValueError, match="time_limit must be positive"):
            call(model, time_limit=-1)
    for name, parameter in model.named_parameters():
        kept = parameter.data.clone()
        parameter.data.flatten()[-1] = math.nan
        with pytest.raises(ValueError, match=f"{name} must be finite"):
            exact.log_partition(model)
        parameter.data = kept
