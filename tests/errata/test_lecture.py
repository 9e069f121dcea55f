"""The lecture slides 機械学習（9回目）: what is printed fails, and the corrected one holds."""

import itertools
import math
from collections import Counter

import pytest
import torch

STATES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)


@pytest.mark.erratum("lecture-state")
def test_states_follow_the_boltzmann_distribution_and_energies_do_not() -> None:
    """Three units, each of energy 1 when it is on: several states share an energy."""
    energy = STATES.sum(1)
    q = torch.exp(-energy) / torch.exp(-energy).sum()
    for one, other in itertools.combinations(range(8), 2):  # what holds, state by state
        ratio = q[one] / q[other]
        torch.testing.assert_close(ratio, torch.exp(energy[other] - energy[one]))
    share = {float(e): float(q[energy == e].sum()) for e in energy.unique()}
    boltzmann = {e: math.exp(-e) / sum(math.exp(-f) for f in share) for e in share}
    assert abs(share[1.0] - boltzmann[1.0]) > 0.15  # printed: the energy is so distributed
    many = Counter(energy.tolist())  # right: e^-E times the number of states of that energy
    total = sum(many[e] * math.exp(-e) for e in many)
    for e in many:
        assert share[e] == pytest.approx(many[e] * math.exp(-e) / total, rel=1e-13)


@pytest.mark.erratum("lecture-conditional")
def test_the_sigmoid_is_the_probability_given_the_visible_units() -> None:
    w, a, b = 2.0, torch.tensor([0.5, -1.0]), -0.7  # two visible units, one hidden unit
    v = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)))
    h = torch.tensor([0.0, 1.0])
    field = b + w * v.sum(1)  # λ of every v
    q = torch.exp((v @ a)[:, None] + field[:, None] * h)  # rows v, columns h
    q = q / q.sum()
    given_v = q[:, 1] / q.sum(1)
    torch.testing.assert_close(given_v, torch.sigmoid(field))
    marginal = q[:, 1].sum()  # P(h = 1): one number, whatever v is
    assert ((marginal - torch.sigmoid(field)).abs() > 0.05).all()


@pytest.mark.erratum("lecture-likelihood")
def test_the_likeliest_parameters_need_not_be_near_the_truth() -> None:
    """Truth: x1 x2 x3 = +1. Units without couplings: the likeliest ones are uniform."""
    spins = 2 * STATES - 1
    truth = (spins.prod(1) > 0).double() / 4
    fields = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def log_likelihood(fields: torch.Tensor) -> torch.Tensor:
        exponent = spins @ fields
        return truth @ (exponent - exponent.logsumexp(0))

    best = log_likelihood(fields)
    assert torch.autograd.grad(best, fields)[0].abs().max() < 1e-15  # concave: the maximum
    rng = torch.Generator().manual_seed(9)
    for _ in range(50):
        other = torch.randn(3, generator=rng, dtype=torch.float64)
        assert log_likelihood(other) < best
    q = torch.softmax(spins @ fields.detach(), 0)
    distance = (truth - q).abs().sum() / 2  # printed: they are near; infinite data do not help
    assert float(distance) == pytest.approx(0.5)
    divergence = -math.log(4) - float(best.detach())
    assert divergence == pytest.approx(math.log(2))
