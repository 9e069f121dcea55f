"""The slides 生成モデル: every printed formula below fails, and the corrected one holds."""

import itertools
import math

import pytest
import torch
from torch import Tensor

STATES = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
COUPLED = torch.tensor([0.7, -0.4, 0.9], dtype=torch.float64)  # J_12, J_13, J_23
FIELD = torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    shown = p > 0
    return (p[shown] * (p[shown] / q[shown]).log()).sum()


def minus_energy(x: Tensor, field: Tensor = FIELD) -> Tensor:
    pairs = torch.stack([x[..., 0] * x[..., 1], x[..., 0] * x[..., 2], x[..., 1] * x[..., 2]], -1)
    return pairs @ COUPLED + x @ field


def data_distribution() -> Tensor:
    weights = torch.arange(1.0, 9.0, dtype=torch.float64) ** 2
    return weights / weights.sum()


@pytest.mark.erratum("slide-gibbs")
def test_the_bound_needs_the_weight_p() -> None:
    p, q = vector(0.98, 0.01, 0.01), vector(0.99, 0.005, 0.005)
    printed = (1 - q / p).sum()
    assert printed > 0.9  # neither sum P - sum q = 0, nor below the divergence
    assert divergence(p, q) < 0.01
    right = (p * (1 - q / p)).sum()
    assert right.abs() < 1e-14
    assert divergence(p, q) >= right


@pytest.mark.erratum("slide-jensen")
def test_the_left_side_needs_a_minus_sign() -> None:
    p, q = vector(0.7, 0.2, 0.1), vector(0.2, 0.3, 0.5)
    printed = (p * (q / p).log()).sum()
    assert printed < -0.5  # printed as a quantity that is at least zero
    torch.testing.assert_close(-printed, divergence(p, q))
    assert -printed >= -(p * (q / p)).sum().log()


@pytest.mark.erratum("slide-taylor")
def test_the_slope_belongs_to_the_point_of_expansion() -> None:
    def f(t: float) -> float:
        return math.exp(t)

    start = 0.3
    slope = curvature = math.exp(start)

    def errors(h: float) -> tuple[float, float]:
        quadratic = f(start) + 0.5 * curvature * h**2
        printed = quadratic + math.exp(start + h) * h
        right = quadratic + slope * h
        return abs(f(start + h) - printed), abs(f(start + h) - right)

    (printed_far, right_far), (printed_near, right_near) = errors(1e-2), errors(5e-3)
    assert printed_far / printed_near == pytest.approx(4, rel=0.02)  # wrong at second order
    assert right_far / right_near == pytest.approx(8, rel=0.02)  # the remainder is of third order


@pytest.mark.erratum("slide-taylor")
def test_the_vertex_of_the_parabola_uses_the_old_slope() -> None:
    start, bend = 1.5, 3.0  # f = cosh, f' = sinh

    def parabola(t: float) -> float:
        return math.cosh(start) + math.sinh(start) * (t - start) + 0.5 * bend * (t - start) ** 2

    right = start - math.sinh(start) / bend
    printed = start
    for _ in range(200):  # the printed rule defines its result by itself
        printed -= 0.2 * (printed - (start - math.sinh(printed) / bend))
    assert printed == pytest.approx(start - math.sinh(printed) / bend)
    assert parabola(printed) > parabola(right) + 1e-2
    assert all(parabola(right) <= parabola(right + d) for d in (-1.0, -1e-3, 1e-3, 1.0))


@pytest.mark.erratum("slide-mixture")
def test_the_mixture_needs_its_dimension_and_its_index() -> None:
    axis = torch.linspace(-9, 9, 721, dtype=torch.float64)
    area = (axis[1] - axis[0]) ** 2
    x = torch.cartesian_prod(axis, axis)
    weights = vector(0.8, 0.2)
    means = torch.stack([vector(-2.0, 0.0), vector(2.5, 1.0)])
    covariances = torch.stack(
        [vector(1.0, 0.3, 0.3, 0.8).reshape(2, 2), vector(0.5, -0.1, -0.1, 0.9).reshape(2, 2)]
    )

    def bell(k: int, front: float) -> Tensor:
        centred = x - means[k]
        square = (centred @ torch.linalg.inv(covariances[k]) * centred).sum(-1)
        return torch.exp(-0.5 * square) / torch.sqrt(front * torch.linalg.det(covariances[k]))

    printed = sum(c * bell(0, 2 * math.pi) for c in weights)  # no index: one bell, counted twice
    right = sum(c * bell(k, (2 * math.pi) ** 2) for k, c in enumerate(weights))
    assert (printed.sum() * area).item() == pytest.approx(math.sqrt(2 * math.pi), rel=1e-9)
    assert (right.sum() * area).item() == pytest.approx(1, rel=1e-9)
    mean_of_right = (right[:, None] * x).sum(0) * area
    torch.testing.assert_close(mean_of_right, weights @ means, rtol=1e-9, atol=1e-9)


@pytest.mark.erratum("slide-entropy")
def test_energy_minus_free_energy_is_the_cross_entropy() -> None:
    p0 = data_distribution()
    energy = -minus_energy(STATES)
    log_z = torch.logsumexp(-energy, 0)
    q = torch.exp(-energy - log_z)
    difference = p0 @ energy + log_z  # energy minus free energy, at temperature one
    torch.testing.assert_close(difference, -(p0 @ q.log()))
    entropies = [-(p0 @ p0.log()), -(q @ q.log())]
    assert all((difference - h).abs() > 0.3 for h in entropies)
    torch.testing.assert_close(difference - entropies[0], divergence(p0, q))
    torch.testing.assert_close(q @ energy + log_z, entropies[1])  # at p0 = q it is the entropy


@pytest.mark.erratum("slide-h-sign")
def test_the_printed_update_climbs() -> None:
    p0, rate = data_distribution(), 0.05

    def divergence_at(field: Tensor) -> Tensor:
        return divergence(p0, minus_energy(STATES, field).softmax(0))

    def gap(field: Tensor) -> Tensor:
        return p0 @ STATES - minus_energy(STATES, field).softmax(0) @ STATES

    printed, right = [FIELD], [FIELD]
    for _ in range(50):
        printed.append(printed[-1] - rate * gap(printed[-1]))
        right.append(right[-1] + rate * gap(right[-1]))
    climbed = [divergence_at(field) for field in printed]
    descended = [divergence_at(field) for field in right]
    assert all(b > a for a, b in itertools.pairwise(climbed))
    assert all(b < a for a, b in itertools.pairwise(descended))


@pytest.mark.erratum("slide-energy-sign")
def test_the_conditional_goes_with_minus_the_printed_energy() -> None:
    local_field = COUPLED[0] * STATES[:, 1] + COUPLED[1] * STATES[:, 2] + FIELD[0]  # of spin 1
    claimed = torch.exp(local_field * STATES[:, 0]) / (2 * torch.cosh(local_field))

    def conditional(weights: Tensor) -> Tensor:
        total = weights.reshape(2, 4).sum(0).repeat(2)  # over spin 1, the slowest index
        return weights / total

    printed = conditional(torch.exp(-minus_energy(STATES)))  # E printed as +sum J x x + sum h x
    right = conditional(torch.exp(minus_energy(STATES)))
    assert (printed - claimed).abs().max() > 0.5
    torch.testing.assert_close(printed, 1 - claimed)  # up and down are exchanged
    torch.testing.assert_close(right, claimed)


@pytest.mark.erratum("slide-posterior")
def test_the_identity_holds_for_the_posterior_of_the_model_only() -> None:
    joint = vector(0.10, 0.25, 0.15, 0.20, 0.05, 0.25).reshape(2, 3)  # q_theta(x, z)
    encoder = vector(0.6, 0.1, 0.3)  # q_phi(z | x = 0): some distribution
    log_marginal = joint[0].sum().log()
    posterior = joint[0] / joint[0].sum()
    printed = (encoder * (joint[0] / encoder).log()).sum()  # r = q_phi, "gap closed"
    assert log_marginal - printed > 0.1
    torch.testing.assert_close(log_marginal - printed, divergence(encoder, posterior))
    spread = (joint[0] / encoder).log()  # the same for every z only if q_phi is the posterior
    assert spread.max() - spread.min() > 1
    torch.testing.assert_close((joint[0] / posterior).log(), log_marginal.expand(3))


@pytest.mark.erratum("slide-diffusion-variance")
def test_the_variance_after_many_steps_has_no_root() -> None:
    alphas = vector(0.9, 0.8, 0.95, 0.6)
    variance = torch.tensor(0.0, dtype=torch.float64)
    for alpha in alphas:  # z_t = sqrt(alpha) z_{t-1} + sqrt(1 - alpha) eps, started at a point
        variance = alpha * variance + (1 - alpha)
    torch.testing.assert_close(variance, 1 - alphas.prod())
    assert (variance - (1 - alphas.prod().sqrt())).abs() > 0.2
