"""Section 7.3 checked by enumeration: conditionals are quotients of sums, nothing is factorised."""

import itertools
import math

import pytest
import torch
from torch import Tensor

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
NV, NH = 4, 3


def configurations(n: int, units: str) -> Tensor:
    return torch.tensor(list(itertools.product(VALUES[units], repeat=n)), dtype=torch.float64)


def parameters(seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = ((NV, NH), (NV,), (NH,))
    return tuple(0.9 * torch.randn(*s, generator=rng, dtype=torch.float64) for s in shapes)


def log_weights(theta: tuple[Tensor, Tensor, Tensor], units: str) -> Tensor:
    """-E(x, z) as a table [x, z]."""
    W, b, c = theta
    x, z = configurations(NV, units), configurations(NH, units)
    return x @ W @ z.T + (x @ b)[:, None] + (z @ c)[None]


def joint(theta: tuple[Tensor, Tensor, Tensor], units: str) -> Tensor:
    weights = log_weights(theta, units)
    return (weights - weights.flatten().logsumexp(0)).exp()


def data(units: str) -> Tensor:
    """Indices of the data in the list of visible configurations, with one repetition."""
    return torch.tensor([1, 3, 4, 11, 11, 14])


@pytest.mark.equation("7.18")
@pytest.mark.parametrize("block", [[0], [1, 3], [0, 2, 3], [0, 1, 2, 3]])
def test_redrawing_any_block_keeps_any_distribution_in_detailed_balance(block: list[int]) -> None:
    """A distribution without any structure, so that blocks of dependent units are covered."""
    x = configurations(NV, "spin")
    rng = torch.Generator().manual_seed(2)
    q = torch.rand(16, generator=rng, dtype=torch.float64).square()
    q /= q.sum()
    rest = [i for i in range(NV) if i not in block]
    same = (x[:, None, rest] == x[None, :, rest]).all(-1).double()  # δ of the rest, [x, x']
    w = q[:, None] * same / (same @ q)[None]
    torch.testing.assert_close(w.sum(0), torch.ones(16, dtype=torch.float64))
    torch.testing.assert_close(w * q, (w * q).T, rtol=0, atol=1e-15)
    torch.testing.assert_close(w @ q, q, rtol=0, atol=1e-15)
    # the value before plays no part: columns of the same rest are equal
    for a, b in itertools.combinations(range(16), 2):
        if same[a, b]:
            assert torch.equal(w[:, a], w[:, b])


@pytest.mark.equation("7.19")
@pytest.mark.parametrize("units", VALUES)
def test_the_visible_chain_is_the_chain_of_pairs_with_the_hidden_layer_summed(units: str) -> None:
    q = joint(parameters(), units)
    z_given_x, x_given_z = q / q.sum(1, keepdim=True), q / q.sum(0, keepdim=True)
    # the chain of pairs: matrices over the 128 pairs (x, z), first z is redrawn, then x
    eye_x, eye_z = torch.eye(16).double(), torch.eye(8).double()
    redraw_z = torch.einsum("xz,xu,zv->xzuv", z_given_x, eye_x, torch.ones(8, 8).double())
    redraw_x = torch.einsum("xz,xu,zv->xzuv", x_given_z, torch.ones(16, 16).double(), eye_z)
    both = redraw_x.reshape(128, 128) @ redraw_z.reshape(128, 128)
    # from (x', z') for every z' the same: the old hidden units play no part
    from_pairs = both.view(16, 8, 16, 8).sum(1)
    torch.testing.assert_close(from_pairs[:, :, :1].expand(-1, -1, 8), from_pairs)
    by_pairs = from_pairs[:, :, 0]
    formula = (q / q.sum(0, keepdim=True)) @ (q / q.sum(1, keepdim=True)).T
    torch.testing.assert_close(by_pairs, formula, rtol=0, atol=1e-15)


@pytest.mark.equation("7.20")
@pytest.mark.parametrize("units", VALUES)
def test_the_flow_of_the_visible_chain_is_symmetric_and_its_eigenvalues_not_negative(
    units: str,
) -> None:
    q = joint(parameters(3), units)
    visible, hidden = q.sum(1), q.sum(0)
    w = (q / hidden) @ (q / visible[:, None]).T
    flow = w * visible
    middle = torch.einsum("xz,yz,z->xy", q, q, 1 / hidden)
    torch.testing.assert_close(flow, middle, rtol=0, atol=1e-15)
    torch.testing.assert_close(flow, flow.T, rtol=0, atol=1e-15)
    eigenvalues = torch.linalg.eigvals(w)
    assert float(eigenvalues.imag.abs().max()) < 1e-7
    assert float(eigenvalues.real.min()) > -1e-7
    assert float(eigenvalues.real.max()) == pytest.approx(1, abs=1e-10)


@pytest.mark.equation("7.21")
@pytest.mark.parametrize("units", VALUES)
def test_the_bound_and_its_gap_add_up_to_the_log_likelihood(units: str) -> None:
    q = joint(parameters(4), units)
    rng = torch.Generator().manual_seed(5)
    for x in (0, 7, 13):
        posterior = q[x] / q[x].sum()
        for r in (torch.rand(8, generator=rng, dtype=torch.float64), posterior):
            r = r / r.sum()
            bound = (r * (q[x] / r).log()).sum()
            gap = (r * (r / posterior).log()).sum()
            assert float(bound + gap) == pytest.approx(float(q[x].sum().log()), abs=1e-13)
            assert float(gap) >= -1e-15
            assert (float(gap) < 1e-13) == bool(torch.allclose(r, posterior))


def q_by_counting(
    theta: tuple[Tensor, Tensor, Tensor], theta0: tuple[Tensor, Tensor, Tensor], units: str
) -> Tensor:
    rows = data(units)
    at0 = joint(theta0, units)
    posterior = (at0 / at0.sum(1, keepdim=True))[rows]
    weights = log_weights(theta, units)
    return (posterior * (weights - weights.flatten().logsumexp(0))[rows]).sum(1).mean()


def means_of_hidden(theta: tuple[Tensor, Tensor, Tensor], units: str) -> Tensor:
    W, _, c = theta
    field = configurations(NV, units)[data(units)] @ W + c
    return field.tanh() if units == "spin" else field.sigmoid()


@pytest.mark.equation("7.22")
@pytest.mark.parametrize("units", VALUES)
def test_q_needs_the_hidden_units_through_their_means_only(units: str) -> None:
    theta, theta0 = parameters(6), parameters(7)
    x, z = configurations(NV, units)[data(units)], means_of_hidden(theta0, units)
    W, b, c = theta
    linear = ((x @ W) * z).sum(1) + x @ b + z @ c
    found = linear.mean() - log_weights(theta, units).flatten().logsumexp(0)
    assert float(found) == pytest.approx(float(q_by_counting(theta, theta0, units)), abs=1e-13)


def data_minus_model(
    theta: tuple[Tensor, Tensor, Tensor], theta0: tuple[Tensor, Tensor, Tensor], units: str
) -> list[Tensor]:
    x, z = configurations(NV, units), configurations(NH, units)
    q = joint(theta, units)
    xi, zi = x[data(units)], means_of_hidden(theta0, units)
    return [
        xi.T @ zi / len(xi) - torch.einsum("xz,xk,zl->kl", q, x, z),
        xi.mean(0) - q.sum(1) @ x,
        zi.mean(0) - q.sum(0) @ z,
    ]


@pytest.mark.equation("7.23")
@pytest.mark.parametrize("units", VALUES)
def test_the_gradient_of_q_is_data_minus_model_at_every_theta(units: str) -> None:
    theta, theta0 = parameters(8), parameters(9)
    leaves = tuple(p.clone().requires_grad_() for p in theta)
    found = torch.autograd.grad(q_by_counting(leaves, theta0, units), leaves)
    for a, b in zip(found, data_minus_model(theta, theta0, units), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


@pytest.mark.equation("7.24")
@pytest.mark.parametrize("units", VALUES)
def test_a_small_step_along_q_raises_q_and_the_likelihood_and_both_slopes_agree(units: str) -> None:
    theta0 = parameters(10)

    def likelihood(theta: tuple[Tensor, ...]) -> Tensor:
        return joint(theta, units).sum(1)[data(units)].log().mean()

    step = data_minus_model(theta0, theta0, units)
    moved = tuple(p + 0.05 * g for p, g in zip(theta0, step, strict=True))
    gain_of_q = q_by_counting(moved, theta0, units) - q_by_counting(theta0, theta0, units)
    gain = likelihood(moved) - likelihood(theta0)
    assert float(gain) >= float(gain_of_q) > 0
    # the slope along the step, by central differences of the enumerated likelihood
    h = 1e-5
    up, down = (tuple(p + s * h * g for p, g in zip(theta0, step, strict=True)) for s in (1, -1))
    slope = float(likelihood(up) - likelihood(down)) / (2 * h)
    squared = math.fsum(float(g.square().sum()) for g in step)
    assert slope == pytest.approx(squared, rel=1e-7)
