"""Section 7.1: the flow of probability out of the data, and what it says about the parameters."""

import itertools

import pytest
import torch

N = 4
STATES = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=N))).double()
PAIRS = list(itertools.combinations(range(N), 2))
ONE_FLIP = (STATES[:, None] != STATES).sum(-1) == 1


@pytest.fixture
def theta(rng):
    return torch.randn(len(PAIRS) + N, dtype=torch.float64, generator=rng)


@pytest.fixture
def p0(rng):
    """An empirical distribution on a part of the states, with unequal weights."""
    counts = torch.randint(0, 3, (len(STATES),), generator=rng).double()
    counts[3], counts[5], counts[6] = 4.0, 0.0, 1.0
    return counts / counts.sum()


def energy(theta, x):
    products = torch.stack([x[..., k] * x[..., m] for k, m in PAIRS], dim=-1)
    return -(products @ theta[: len(PAIRS)] + x @ theta[len(PAIRS) :])


def rates(theta):
    """w(x'|x) in row x', column x, without a diagonal."""
    E = energy(theta, STATES)
    return ((E[None, :] - E[:, None]) / 2).exp() * ONE_FLIP


def flow(theta, p):
    w = rates(theta)
    return w @ p - w.sum(0) * p


def leak(theta, p0, outside_only=True):
    w = rates(theta)
    rows = p0 == 0 if outside_only else torch.ones_like(p0, dtype=torch.bool)
    return (w[rows] @ p0).sum()


@pytest.mark.equation("7.3")
def test_master_equation_is_the_limit_of_short_steps(theta, p0):
    w = rates(theta)
    generator = w - torch.diag(w.sum(0))
    slopes = [(torch.linalg.matrix_exp(generator * t) @ p0 - p0) / t for t in (1e-3, 1e-4)]
    errors = [float((slope - flow(theta, p0)).abs().max()) for slope in slopes]
    assert errors[1] < 1e-2
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.05)


@pytest.mark.equation("7.4")
def test_flow_only_moves_probability(theta, p0):
    assert float(flow(theta, p0).abs().max()) > 0.01
    assert abs(float(flow(theta, p0).sum())) < 1e-14


@pytest.mark.equation("7.5")
def test_divergence_after_a_short_time_is_what_left_the_data(theta, p0):
    w = rates(theta)
    generator = w - torch.diag(w.sum(0))
    inside = p0 > 0
    errors = []
    for t in (1e-5, 1e-6):
        p = torch.linalg.matrix_exp(generator * t) @ p0
        divergence = (p0[inside] * (p0[inside] / p[inside]).log()).sum()
        errors.append(abs(float(divergence / (t * leak(theta, p0)) - 1)))
    assert errors[1] < 2e-3
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)


@pytest.mark.equation("7.6")
def test_rates_keep_detailed_balance(theta):
    q = (-energy(theta, STATES)).softmax(0)
    current = rates(theta) * q
    assert float((current - current.T).abs().max()) < 1e-14
    assert float(flow(theta, q).abs().max()) < 1e-14


def sum_over_samples(theta, x, data):
    """Equation (7.7) as printed: sample by sample, flip by flip."""
    inside = {tuple(row) for row in data.tolist()}
    total = theta.new_zeros(())
    for sample in x:
        for k in range(N):
            flipped = sample.clone()
            flipped[k] = -flipped[k]
            if tuple(flipped.tolist()) not in inside:
                total = total + ((energy(theta, sample) - energy(theta, flipped)) / 2).exp()
    return total / len(x)


def samples(p0):
    """Samples whose empirical distribution is p0, a multiple of 1/Σ counts."""
    smallest = p0[p0 > 0].min()
    return STATES.repeat_interleave((p0 / smallest).round().long(), dim=0)


@pytest.mark.equation("7.7")
def test_objective_is_the_leak(theta, p0):
    x = samples(p0)
    assert float(sum_over_samples(theta, x, x)) == pytest.approx(float(leak(theta, p0)), rel=1e-12)


@pytest.mark.equation("7.8")
def test_gradient_of_the_flow(theta, p0):
    x = samples(p0)
    inside = {tuple(row) for row in x.tolist()}
    expected = torch.zeros_like(theta)

    def statistics(t, state):  # ∂E/∂θ of one state
        return torch.autograd.functional.jacobian(lambda u: energy(u, state), t)

    for sample in x:
        for k in range(N):
            flipped = sample.clone()
            flipped[k] = -flipped[k]
            if tuple(flipped.tolist()) not in inside:
                rate = ((energy(theta, sample) - energy(theta, flipped)) / 2).exp()
                slope = statistics(theta, sample) - statistics(theta, flipped)
                expected += slope * rate / (2 * len(x))
    step = 1e-6
    for a in range(len(theta)):
        e = torch.zeros_like(theta)
        e[a] = step
        difference = (leak(theta + e, p0) - leak(theta - e, p0)) / (2 * step)
        assert float(difference) == pytest.approx(float(expected[a]), abs=1e-8)


@pytest.mark.equation("7.9")
def test_closed_form_for_a_boltzmann_machine(theta, p0):
    x = samples(p0)
    theta = theta.requires_grad_()
    expected = torch.autograd.grad(leak(theta, p0, outside_only=False), theta)[0]
    J = torch.zeros(N, N, dtype=torch.float64)
    for value, (k, m) in zip(theta.detach(), PAIRS, strict=False):
        J[k, m] = J[m, k] = value
    h = theta.detach()[len(PAIRS) :]
    rate = (-x * (x @ J + h)).exp()
    couplings = [-(x[:, k] * x[:, m] * (rate[:, k] + rate[:, m])).mean() for k, m in PAIRS]
    fields = -(x * rate).mean(0)
    assert torch.allclose(torch.cat([torch.stack(couplings), fields]), expected, atol=1e-12)


@pytest.mark.equation("7.10")
def test_pseudo_likelihood_is_a_sum_over_flips(theta, p0):
    x = samples(p0)
    q = (-energy(theta, STATES)).softmax(0)
    number = {tuple(row): i for i, row in enumerate(STATES.tolist())}
    total, by_flips = 0.0, 0.0
    for sample in x:
        for k in range(N):
            flipped = sample.clone()
            flipped[k] = -flipped[k]
            here, there = q[number[tuple(sample.tolist())]], q[number[tuple(flipped.tolist())]]
            total -= float((here / (here + there)).log())
            D = energy(theta, sample) - energy(theta, flipped)
            by_flips += float(torch.log1p(D.exp()))
    assert by_flips / len(x) == pytest.approx(total / len(x), rel=1e-12)


def test_counting_all_flips_is_stationary_at_the_truth_and_convex(theta, rng):
    q = (-energy(theta, STATES)).softmax(0)

    def objective(t):
        return leak(t, q, outside_only=False)

    slope = torch.autograd.functional.jacobian(objective, theta)
    assert float(slope.abs().max()) < 1e-13
    for _ in range(5):
        elsewhere = torch.randn(len(theta), dtype=torch.float64, generator=rng)
        curvature = torch.linalg.eigvalsh(torch.autograd.functional.hessian(objective, elsewhere))
        assert float(curvature[0]) > 0
