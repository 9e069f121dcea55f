"""The asymptotic variance against sums of correlations and closed forms."""

import numpy as np
import pytest
import torch

from lecture_pkg.sampling import asymptotic_variance


def chain(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    w = np.random.default_rng(seed).dirichlet(np.full(n, 0.4), size=n).T
    return w, np.linalg.matrix_power(w, 5000)[:, 0]


def test_it_is_the_sum_of_all_autocovariances() -> None:
    for seed in range(5):
        w, p = chain(5, seed)
        f = np.random.default_rng(100 + seed).normal(size=5)
        centred, moved = f - p @ f, p * (f - p @ f)
        total = centred @ moved
        for _ in range(20_000):
            moved = w @ moved
            total += 2 * centred @ moved
        got = asymptotic_variance(*(torch.from_numpy(v) for v in (w, p, f)))
        assert abs(float(got) - total) < 1e-9 * abs(total)


def test_independent_draws_have_the_variance_itself_and_two_states_a_closed_form() -> None:
    p = np.array([0.2, 0.5, 0.3])
    f = np.array([1.0, -2.0, 4.0])
    w = np.repeat(p[:, None], 3, axis=1)
    variance = p @ f**2 - (p @ f) ** 2
    got = asymptotic_variance(*(torch.from_numpy(v) for v in (w, p, f)))
    assert abs(float(got) - variance) < 1e-13
    a, b = 0.3, 0.1  # leaving the first state, leaving the second: λ = 1 - a - b
    w, p = np.array([[1 - a, b], [a, 1 - b]]), np.array([b, a]) / (a + b)
    f = np.array([0.0, 1.0])
    exact = p[0] * p[1] * (2 - a - b) / (a + b)
    got = asymptotic_variance(*(torch.from_numpy(v) for v in (w, p, f)))
    assert abs(float(got) - exact) < 1e-13


def test_a_chain_with_a_period_has_one_too() -> None:
    n, f = 5, torch.tensor([1.0, 0.0, 2.0, -1.0, 0.5]).double()
    cycle = torch.eye(n).double().roll(1, 0)  # whole rounds have the exact mean
    uniform = torch.full((n,), 1 / n, dtype=torch.float64)
    assert abs(float(asymptotic_variance(cycle, uniform, f))) < 1e-14


@pytest.mark.bad_input
def test_bad_input_is_refused() -> None:
    w = torch.tensor([[0.5, 0.25], [0.5, 0.75]], dtype=torch.float64)
    p, f = torch.tensor([1.0, 2.0]).double() / 3, torch.tensor([0.0, 1.0]).double()
    with pytest.raises(ValueError, match="must be stationary"):
        asymptotic_variance(w, torch.tensor([0.5, 0.5]).double(), f)
    halves = torch.block_diag(w, w)  # two chains side by side
    with pytest.raises(ValueError, match="must be irreducible"):
        asymptotic_variance(halves, torch.cat([p, p]) / 2, torch.arange(4).double())
    absorbing = torch.tensor([[1.0, 0.5], [0.0, 0.5]]).double()
    with pytest.raises(ValueError, match="must be irreducible"):
        asymptotic_variance(absorbing, torch.tensor([1.0, 0.0]).double(), f)
    with pytest.raises(ValueError, match="must sum to one"):
        asymptotic_variance(w.T, p, f)
    with pytest.raises(ValueError, match=r"f must have shape \(2\)"):
        asymptotic_variance(w, p, torch.zeros(3).double())
    with pytest.raises(TypeError, match="one dtype"):
        asymptotic_variance(w, p, f.float())
    with pytest.raises(TypeError, match="floating-point"):
        asymptotic_variance(w, p, torch.tensor([0, 1]))
