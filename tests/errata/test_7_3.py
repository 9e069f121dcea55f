"""The slides on the RBM's learning: what is printed fails, and the corrected form holds."""

import itertools
import math

import pytest
import torch


def layer(n: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=n)), dtype=torch.float64)


def machine(n_visible: int, n_hidden: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return 0.6 * torch.randn(*shape, generator=rng, dtype=torch.float64)

    return normal(n_visible, n_hidden), normal(n_visible), normal(n_hidden)


@pytest.mark.erratum("slide-rbm-sum")
def test_the_sum_over_hidden_units_is_easy_and_z_is_what_is_hard() -> None:
    """Printed: the logarithm of a sum over z cannot be computed, so the bound takes its place."""
    W, b, c = machine(3, 14)
    x = layer(3)
    z = layer(14)
    counted = (x @ W @ z.T + (z @ c)[None]).logsumexp(1) + x @ b  # 2^14 terms
    field = x @ W + c
    product = x @ b + (field.abs() + torch.log1p(torch.exp(-2 * field.abs()))).sum(1)  # 14 terms
    torch.testing.assert_close(product, counted, rtol=0, atol=1e-11)
    # and with 5000 hidden units, whose 2^5000 states no one will count
    W, b, c = machine(3, 5000)
    field = x @ W + c
    unnormalised = x @ b + (field.abs() + torch.log1p(torch.exp(-2 * field.abs()))).sum(1)
    assert bool(torch.isfinite(unnormalised).all())
    # ln Z stays in the bound as it stood in the likelihood: both shift by it alone
    log_z = unnormalised.logsumexp(0)
    r = torch.full((8, 5000), 0.5, dtype=torch.float64)  # P(z = +1) of a factorised r
    entropy = 5000 * math.log(2)
    bound = ((2 * r - 1) * field).sum(1) + x @ b + entropy - log_z
    assert bool((bound <= unnormalised - log_z).all())


@pytest.mark.erratum("slide-block-index")
def test_the_hidden_conditional_is_a_product_over_hidden_units() -> None:
    """Printed: q(z|x) = Π_j exp(v_i x_i) / 2cosh(v_i), with the visible unit in the exponent."""
    W, b, c = machine(3, 3)  # square, so that the printed form can be evaluated at all
    x, z = layer(3), layer(3)
    weights = x @ W @ z.T + (x @ b)[:, None] + (z @ c)[None]
    posterior = weights.softmax(1)  # [x, z]
    field = x @ W + c
    right = torch.sigmoid(2 * z[None] * field[:, None]).prod(-1)  # exp(νz) / 2cosh(ν)
    torch.testing.assert_close(posterior, right, rtol=0, atol=1e-14)
    printed = torch.sigmoid(2 * x * field).prod(-1)[:, None].expand(-1, 8)
    assert float((printed - posterior).abs().max()) > 0.1
    assert float((printed.sum(1) - 1).abs().max()) > 0.1  # no distribution of z at all
