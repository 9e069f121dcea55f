"""The doors of `exact`: order of the states, dtypes, bad input."""

import itertools
import math

import numpy as np
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


@UNITS
def test_states_count_in_binary(units):
    expected = list(itertools.product(VALUES[units], repeat=4))
    assert exact.states(4, units).tolist() == [list(x) for x in expected]


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
