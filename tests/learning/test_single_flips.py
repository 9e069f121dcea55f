"""Minimum probability flow and pseudo-likelihood against loops over single flips."""

import itertools
import math

import pytest
import torch

from lecture_pkg.learning import MinimumProbabilityFlow, PseudoLikelihood, single_flips
from lecture_pkg.learning.minimum_probability_flow import flips_inside
from lecture_pkg.models import RBM, BoltzmannMachine, Gaussian

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}


def random_machine(n, units, rng, scale=1.0):
    J = scale * torch.randn(n, n, dtype=torch.float64, generator=rng).triu(1)
    return BoltzmannMachine(J + J.T, torch.randn(n, dtype=torch.float64, generator=rng), units)


def random_rbm(n, m, units, rng):
    W, b, c = (torch.randn(*s, dtype=torch.float64, generator=rng) for s in ((n, m), (n,), (m,)))
    return RBM.from_parameters(W, b, c, units)


def samples(n_samples, n, units, rng):
    low, high = VALUES[units]
    return torch.where(torch.rand(n_samples, n, generator=rng) < 0.6, high, low).double()


def free_energy(model, x):
    """-ln of the sum over hidden states, written out for an RBM."""
    if isinstance(model, BoltzmannMachine):
        return model.energy(x)
    z = torch.tensor(list(itertools.product(VALUES[model.units], repeat=model.n_hidden))).double()
    joint = [model.energy(x, one.expand(len(x), -1)) for one in z]
    return -(-torch.stack(joint)).logsumexp(0)


def flipped(x, k, units):
    low, high = VALUES[units]
    moved = x.clone()
    moved[:, k] = low + high - x[:, k]
    return moved


def flow(model, x, outside=lambda moved: torch.ones(len(moved))):
    total = 0.0
    for k in range(x.shape[1]):
        moved = flipped(x, k, model.units)
        rate = ((free_energy(model, x) - free_energy(model, moved)) / 2).exp()
        total = total + (rate * outside(moved)).mean()
    return total


def minus_log_pseudo_likelihood(model, x):
    total = 0.0
    for k in range(x.shape[1]):
        here, there = free_energy(model, x), free_energy(model, flipped(x, k, model.units))
        total = total - torch.log((-here).exp() / ((-here).exp() + (-there).exp())).mean()
    return total


MODELS = {
    "machine": lambda units, rng: random_machine(5, units, rng),
    "rbm": lambda units, rng: random_rbm(5, 3, units, rng),
}
RULES = [
    (MinimumProbabilityFlow(), flow),
    (PseudoLikelihood(), minus_log_pseudo_likelihood),
]


def assert_gradient(model, objective, value):
    parameters = list(model.parameters())
    expected = torch.autograd.grad(objective, parameters)
    assert float(value) == pytest.approx(float(objective.detach()), rel=1e-12)
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("rule", "by_loop"), RULES, ids=["flow", "pseudo"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("units", ["spin", "binary"])
def test_value_and_gradient_are_those_of_the_loop(rule, by_loop, kind, units, rng, monkeypatch):
    monkeypatch.setattr(single_flips, "_ENTRIES", 60)  # the last block of rows is ragged
    model = MODELS[kind](units, rng)
    x = samples(23, 5, units, rng)
    value = rule(model, x)
    assert_gradient(model, by_loop(model, x), value)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("units", ["spin", "binary"])
def test_flips_back_into_the_data_do_not_count_when_data_are_given(kind, units, rng):
    model = MODELS[kind](units, rng)
    data = samples(12, 5, units, rng)
    inside = {tuple(row) for row in data.tolist()}

    def outside(moved):
        return torch.tensor([float(tuple(row) not in inside) for row in moved.tolist()])

    batch = data[3:10]
    value = MinimumProbabilityFlow(data)(model, batch)
    objective = flow(model, batch, outside)
    assert 0 < float(objective.detach()) < 0.98 * float(flow(model, batch).detach())
    assert_gradient(model, objective, value)


@pytest.mark.parametrize("units", ["spin", "binary"])
def test_flips_inside_are_those_of_a_set_of_rows(units, rng):
    data = samples(40, 6, units, rng)
    inside = {tuple(row) for row in data.tolist()}
    expected = torch.stack(
        [
            torch.tensor([tuple(row) in inside for row in flipped(data, k, units).tolist()])
            for k in range(6)
        ],
        dim=1,
    )
    assert 0 < int(expected.sum()) < expected.numel()
    assert torch.equal(flips_inside(data, data, units), expected)


def machine_of(counts):
    """The two-spin machine whose probabilities are proportional to counts, solved by hand."""
    a, b, c, d = (math.log(count) for count in counts)  # of (-,-), (-,+), (+,-), (+,+)
    J, h1, h2 = (a - b - c + d) / 4, (-a - b + c + d) / 4, (-a + b - c + d) / 4
    matrix = torch.tensor([[0.0, J], [J, 0.0]], dtype=torch.float64)
    return BoltzmannMachine(matrix, torch.tensor([h1, h2], dtype=torch.float64))


@pytest.mark.parametrize("rule", [MinimumProbabilityFlow(), PseudoLikelihood()])
def test_gradient_vanishes_where_the_model_is_the_data(rule):
    counts = torch.tensor([5, 2, 1, 4])
    corners = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]]).double()
    x = corners.repeat_interleave(counts, dim=0)
    model = machine_of(counts.tolist())
    rule(model, x)
    assert max(float(p.grad.abs().max()) for p in model.parameters()) < 1e-14
    with torch.no_grad():
        model.couplings += 0.1
    rule(model, x)
    assert float(model.couplings.grad[0]) > 1e-3


def test_nothing_is_left_to_learn_where_the_data_cover_every_state(rng):
    corners = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]]).double()
    model = random_machine(2, "spin", rng)
    assert float(MinimumProbabilityFlow(corners)(model, corners)) == 0.0
    assert float(MinimumProbabilityFlow()(model, corners)) > 1


def test_strong_couplings_and_constant_units_in_float32(rng):
    n = 12
    sign = torch.where(torch.rand(n, n, generator=rng) < 0.5, 20.0, -20.0).triu(1)
    model = BoltzmannMachine(sign + sign.T, torch.full((n,), 100.0))
    x = samples(9, n, "spin", rng).float()
    x[:, 0] = 1.0
    exact = BoltzmannMachine((sign + sign.T).double(), torch.full((n,), 100.0).double())
    value = PseudoLikelihood()(model, x)
    loop = sum(
        torch.nn.functional.softplus(exact.energy(x) - exact.energy(flipped(x, k, "spin"))).mean()
        for k in range(n)
    )
    assert float(value) == pytest.approx(float(loop.detach()), rel=1e-5)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    with pytest.raises(FloatingPointError, match="PseudoLikelihood"):
        MinimumProbabilityFlow()(model, -x)


def test_dtype_is_kept_and_frozen_parameters_stay_without_gradient(rng):
    J = torch.randn(4, 4, generator=rng).triu(1)
    model = BoltzmannMachine(J + J.T, torch.zeros(4))
    model.h.requires_grad_(False)
    x = samples(6, 4, "spin", rng)
    assert PseudoLikelihood()(model, x).dtype == torch.float32
    assert model.couplings.grad.dtype == torch.float32
    assert model.h.grad is None


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    model = random_machine(3, "spin", rng)
    rule = MinimumProbabilityFlow()
    with pytest.raises(ValueError, match="2 \\* x - 1"):
        rule(model, torch.zeros(2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="shape"):
        rule(model, torch.ones(2, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="empty"):
        rule(model, torch.ones(0, 3, dtype=torch.float64))
    with pytest.raises(TypeError, match="Gaussian"):
        rule(Gaussian(torch.zeros(3), torch.eye(3)), torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least one sample"):
        MinimumProbabilityFlow(torch.ones(0, 3))
    with pytest.raises(ValueError, match="data must hold spin values"):
        MinimumProbabilityFlow(torch.zeros(2, 3))(model, torch.ones(2, 3, dtype=torch.float64))
