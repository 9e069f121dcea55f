"""The slide on contrastive divergence: one step is not enough, and it is not block sampling."""

import itertools

import pytest
import torch
from torch import Tensor

STATES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
HIDDEN = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)), dtype=torch.float64)
P0 = torch.zeros(16, dtype=torch.float64)
P0[[0, 3, 12, 15]] = torch.tensor([0.1, 0.3, 0.4, 0.2], dtype=torch.float64)


def joint(theta: list[Tensor]) -> Tensor:
    W, b, c = theta
    weights = STATES @ W @ HIDDEN.T + (STATES @ b)[:, None] + (HIDDEN @ c)[None]
    return (weights - weights.flatten().logsumexp(0)).exp()


def transition(q: Tensor) -> Tensor:
    return (q / q.sum(0)) @ (q / q.sum(1, keepdim=True)).T


def direction(theta: list[Tensor], k: int | None) -> list[Tensor]:
    """Data average minus the average over p_k, or over the model where k is None."""
    q = joint(theta)
    mean_z = (q / q.sum(1, keepdim=True)) @ HIDDEN
    p = q.sum(1) if k is None else torch.linalg.matrix_power(transition(q), k) @ P0
    moved = P0 - p
    return [STATES.T @ (moved[:, None] * mean_z), moved @ STATES, moved @ mean_z]


def log_likelihood(theta: list[Tensor]) -> float:
    return float((P0 * joint(theta).sum(1).log()).sum())


def train(k: int | None, n_steps: int) -> tuple[list[Tensor], list[float]]:
    rng = torch.Generator().manual_seed(3)
    theta = [
        0.3 * torch.randn(*s, generator=rng, dtype=torch.float64) for s in ((4, 2), (4,), (2,))
    ]
    values = []
    for _ in range(n_steps):
        theta = [p + 0.3 * g for p, g in zip(theta, direction(theta, k), strict=True)]
        values.append(log_likelihood(theta))
    return theta, values


@pytest.mark.erratum("slide-cd-one")
def test_one_step_ends_elsewhere_while_block_sampling_run_to_the_end_does_not() -> None:
    """Printed: one step will do; block sampling of an RBM is CD. No sampling noise is in here."""
    _, exact = train(None, 4000)
    theta, one = train(1, 4000)
    assert max(exact) == exact[-1]
    # CD-1 has come to rest, where the likelihood's own gradient has not
    at_rest = max(float(g.abs().max()) for g in direction(theta, 1))
    still = max(float(g.abs().max()) for g in direction(theta, None))
    assert at_rest < 0.1 * still
    assert one[-1] < exact[-1] - 0.02
    # block sampling itself keeps the model exactly, and many sweeps forget the data
    q = joint(theta)
    w = transition(q)
    torch.testing.assert_close(w @ q.sum(1), q.sum(1), rtol=0, atol=1e-14)
    forgotten = torch.linalg.matrix_power(w, 1_000_000) @ P0
    torch.testing.assert_close(forgotten, q.sum(1), rtol=0, atol=1e-9)
    assert float((w @ P0 - q.sum(1)).abs().sum()) > 0.02
