"""Section 7.4 checked by enumeration, with conditionals as quotients of sums of the joint table."""

import itertools

import pytest
import torch
from torch import Tensor

from lecture_pkg.learning import ContrastiveDivergence
from lecture_pkg.models import RBM

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
NV, NH = 4, 2
DATA = torch.tensor([1, 3, 4, 11, 11, 14])


def configurations(n: int, units: str) -> Tensor:
    return torch.tensor(list(itertools.product(VALUES[units], repeat=n)), dtype=torch.float64)


def parameters(seed: int = 1, scale: float = 0.9) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    shapes = ((NV, NH), (NV,), (NH,))
    return tuple(scale * torch.randn(*s, generator=rng, dtype=torch.float64) for s in shapes)


def joint(theta: tuple[Tensor, ...], units: str) -> Tensor:
    W, b, c = theta
    x, z = configurations(NV, units), configurations(NH, units)
    weights = x @ W @ z.T + (x @ b)[:, None] + (z @ c)[None]
    return (weights - weights.flatten().logsumexp(0)).exp()


def p_zero() -> Tensor:
    return torch.bincount(DATA, minlength=16).double() / len(DATA)


def p_after(theta: tuple[Tensor, ...], k: int, units: str) -> Tensor:
    q = joint(theta, units)
    w = (q / q.sum(0)) @ (q / q.sum(1, keepdim=True)).T
    return torch.linalg.matrix_power(w, k) @ p_zero()


def direction(theta: tuple[Tensor, ...], k: int, units: str) -> list[Tensor]:
    """g_k of W, b, c, by (7.25)."""
    x, z = configurations(NV, units), configurations(NH, units)
    q = joint(theta, units)
    mean_z = (q / q.sum(1, keepdim=True)) @ z
    moved = p_zero() - p_after(theta, k, units)
    return [x.T @ (moved[:, None] * mean_z), moved @ x, moved @ mean_z]


def flat(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def likelihood(theta: tuple[Tensor, ...], units: str) -> Tensor:
    return (p_zero() * joint(theta, units).sum(1).log()).sum()


@pytest.mark.equation("7.25")
@pytest.mark.parametrize("units", VALUES)
def test_many_steps_give_the_gradient_of_the_likelihood_and_few_do_not(units: str) -> None:
    theta = parameters()
    leaves = tuple(p.clone().requires_grad_() for p in theta)
    exact = flat(torch.autograd.grad(likelihood(leaves, units), leaves))
    torch.testing.assert_close(flat(direction(theta, 4000, units)), exact, rtol=0, atol=1e-11)
    assert float((flat(direction(theta, 1, units)) - exact).norm()) > 0.05 * float(exact.norm())


@pytest.mark.equation("7.25")
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("units", VALUES)
def test_the_estimator_has_this_expectation(units: str, k: int) -> None:
    theta = parameters(2)
    model = RBM.from_parameters(*theta, units)
    x = configurations(NV, units)[DATA].repeat(20_000, 1)
    ContrastiveDivergence(k, rng=torch.Generator().manual_seed(3))(model, x)
    found = -flat([p.grad for p in model.parameters()])
    # 120 000 chains; a statistic in [-1, 1] has a standard deviation of at most 1, one in [0, 1]
    # of at most 1/2: 6 standard errors for each of 14 entries are a false alarm of 3e-8
    bound = 6 * (1 if units == "spin" else 0.5) / len(x) ** 0.5
    assert float((found - flat(direction(theta, k, units))).abs().max()) < bound
    assert bound < 0.1 * float(flat(direction(theta, k, units)).abs().max())


@pytest.mark.equation("7.26")
@pytest.mark.parametrize("units", VALUES)
def test_the_bias_is_the_average_over_what_the_chain_has_not_forgotten(units: str) -> None:
    theta = parameters(4)
    x, z = configurations(NV, units), configurations(NH, units)
    q = joint(theta, units)
    mean_z = (q / q.sum(1, keepdim=True)) @ z
    leaves = tuple(p.clone().requires_grad_() for p in theta)
    exact = torch.autograd.grad(likelihood(leaves, units), leaves)[0]
    biases = []
    for k in (1, 2, 3, 20, 21):
        rest = p_after(theta, k, units) - q.sum(1)
        bias = torch.einsum("s,sk,sl->kl", rest, x, mean_z)
        torch.testing.assert_close(exact - direction(theta, k, units)[0], bias, rtol=0, atol=1e-13)
        biases.append(float(bias.norm()))
    # late biases shrink by the second eigenvalue with every sweep
    w = (q / q.sum(0)) @ (q / q.sum(1, keepdim=True)).T
    second = float(torch.linalg.eigvals(w).real.sort(descending=True).values[1])
    assert biases[4] / biases[3] == pytest.approx(second, rel=0.05)
    assert biases[4] < 0.5 * biases[0]


def contrast(theta: tuple[Tensor, ...], k: int, units: str) -> Tensor:
    q, p0, p_k = joint(theta, units).sum(1), p_zero(), p_after(theta, k, units)
    at_data = p0 > 0
    first = (p0[at_data] * (p0[at_data] / q[at_data]).log()).sum()
    return first - (p_k * (p_k / q).log()).sum()


@pytest.mark.equation("7.27")
@pytest.mark.parametrize("units", VALUES)
def test_the_contrast_is_not_negative_and_grows_with_k(units: str) -> None:
    for seed in range(30):
        values = [float(contrast(parameters(seed, 1.5), k, units)) for k in (1, 2, 5)]
        assert 0 < values[0] < values[1] < values[2]


@pytest.mark.equation("7.28")
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("units", VALUES)
def test_the_gradient_of_the_contrast_has_a_second_term_that_cd_drops(units: str, k: int) -> None:
    theta = parameters(5)
    sizes = [p.numel() for p in theta]

    def parts(vector: Tensor) -> tuple[Tensor, ...]:
        pieces = zip(vector.split(sizes), theta, strict=True)
        return tuple(piece.view(p.shape) for piece, p in pieces)

    vector = flat(theta)
    whole = -torch.autograd.functional.jacobian(lambda v: contrast(parts(v), k, units), vector)
    moving = torch.autograd.functional.jacobian(lambda v: p_after(parts(v), k, units), vector)
    p_k, q = p_after(theta, k, units), joint(theta, units).sum(1)
    dropped = (p_k / q).log() @ moving
    torch.testing.assert_close(
        whole, flat(direction(theta, k, units)) + dropped, rtol=0, atol=1e-12
    )
    if k == 1:  # three sweeps leave little to drop
        assert float(dropped.norm()) > 0.005 * float(whole.norm())


def test_what_cd_follows_is_the_gradient_of_no_function() -> None:
    """A gradient's Jacobian is a Hessian, hence symmetric; here it is not. Section 7.4."""
    theta = parameters(6)
    sizes = [p.numel() for p in theta]

    def g(vector: Tensor, k: int) -> Tensor:
        pieces = zip(vector.split(sizes), theta, strict=True)
        return flat(direction(tuple(a.view(p.shape) for a, p in pieces), k, "binary"))

    for k, symmetric in ((1, False), (4000, True)):
        jacobian = torch.autograd.functional.jacobian(lambda v, k=k: g(v, k), flat(theta))
        asymmetry = float((jacobian - jacobian.T).norm() / jacobian.norm())
        assert (asymmetry < 1e-9) if symmetric else (asymmetry > 0.01)
