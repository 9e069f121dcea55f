"""What the slides print about minimum probability flow, failing; what holds instead."""

import itertools

import pytest
import torch

STATES = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3))).double()
ONE_FLIP = (STATES[:, None] != STATES).sum(-1) == 1
E = torch.tensor([0.3, -0.9, 1.1, 0.2, -1.4, 0.8, -0.1, 0.5], dtype=torch.float64)
W = ((E[None, :] - E[:, None]) / 2).exp() * ONE_FLIP  # w(x'|x) in row x', column x


def flowed(p, t, weights=W):
    generator = weights - torch.diag(weights.sum(0))
    return torch.linalg.matrix_exp(generator * t) @ p


def kl(p, q):
    return float((p[p > 0] * (p[p > 0] / q[p > 0]).log()).sum())


@pytest.mark.erratum("slide-mpf-n")
def test_the_flow_carries_the_weight_of_each_sample():
    data = [0, 3, 5]
    p0 = torch.zeros(8, dtype=torch.float64)
    p0[data] = 1 / 3
    others = [i for i in range(8) if i not in data]
    printed = float(W[others][:, data].sum())  # Σ_{j ∉ D} Σ_{i ∈ D} g exp(...)
    t = 1e-6
    divergence = kl(p0, flowed(p0, t))
    assert divergence == pytest.approx(t * printed / 3, rel=1e-4)
    assert abs(divergence - t * printed) > 0.5 * t * printed


@pytest.mark.erratum("slide-mpf-g")
def test_a_forbidden_move_has_rate_zero_not_minus_one():
    g = torch.where(ONE_FLIP, 1.0, -1.0).fill_diagonal_(0).double()
    printed = g * ((E[None, :] - E[:, None]) / 2).exp()
    p0 = torch.zeros(8, dtype=torch.float64)
    p0[0] = 1.0
    assert float(flowed(p0, 0.01, printed).min()) < -1e-3
    assert float(flowed(p0, 0.01).min()) >= 0


@pytest.mark.erratum("slide-mpf-rate")
def test_the_rates_are_no_probabilities_of_one_step():
    assert float(W.sum(0).max()) > 1  # so that no staying probability makes columns sum to one
    p0 = torch.full((8,), 1 / 8, dtype=torch.float64)
    assert float((W @ p0).sum()) > 1.5
    assert float(flowed(p0, 1.0).sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.erratum("slide-mpf-stationary")
def test_no_leak_does_not_make_the_data_stationary():
    p0 = torch.tensor([4, 1, 1, 1, 2, 1, 1, 1], dtype=torch.float64) / 12
    outside = p0 == 0
    assert float((W[outside] @ p0).sum()) == 0.0  # nothing can leak
    assert float((flowed(p0, 0.1) - p0).abs().sum()) > 0.01  # but the data move
    q = (-E).softmax(0)
    assert float((flowed(q, 0.1) - q).abs().max()) < 1e-14
