"""The Boltzmann machine against a sum written out term by term, and the map between conventions."""

import itertools
import math

import pytest
import torch

from lecture_pkg.models import BoltzmannMachine

VALUES = {"spin": (-1, 1), "binary": (0, 1)}


def random_couplings(n, rng, scale=1.0):
    J = scale * torch.randn(n, n, dtype=torch.float64, generator=rng).triu(1)
    return J + J.T, torch.randn(n, dtype=torch.float64, generator=rng)


def energy_by_terms(J, h, x):
    n = len(h)
    pairs = sum(J[i][j] * x[i] * x[j] for i in range(n) for j in range(i + 1, n))
    return -pairs - sum(h[i] * x[i] for i in range(n))


@pytest.mark.parametrize("units", ["spin", "binary"])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_energy_counts_every_pair_once(n, units, rng):
    J, h = random_couplings(n, rng)
    x = torch.tensor(list(itertools.product(VALUES[units], repeat=n)))
    expected = [energy_by_terms(J.tolist(), h.tolist(), row) for row in x.tolist()]
    energy = BoltzmannMachine(J, h, units).energy(x)
    assert energy.tolist() == pytest.approx(expected, abs=1e-12)


def test_energy_keeps_leading_dimensions_and_dtype(rng):
    J, h = random_couplings(4, rng)
    model = BoltzmannMachine(J.float(), h.float())
    x = 2 * torch.randint(0, 2, (3, 2, 4), generator=rng) - 1
    energy = model.energy(x).detach()
    assert energy.shape == (3, 2)
    assert energy.dtype == torch.float32
    assert float(energy[2, 1]) == pytest.approx(float(model.energy(x[2, 1]).detach()), rel=1e-6)


def test_couplings_are_the_upper_triangle_row_by_row(rng):
    J, h = random_couplings(4, rng)
    model = BoltzmannMachine(J, h)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert model.couplings.tolist() == [float(J[i, j]) for i, j in pairs]
    assert torch.equal(model.J, J)
    assert model.n_units == 4
    assert repr(model) == 'BoltzmannMachine(n_units=4, units="spin")'


@pytest.mark.parametrize("units", ["spin", "binary"])
def test_gradient_in_a_parameter_is_its_own_statistic(units, rng):
    J, h = random_couplings(4, rng)
    model = BoltzmannMachine(J, h, units)
    x = torch.tensor([VALUES[units][i] for i in (1, 0, 1, 1)], dtype=torch.float64)
    (-model.energy(x)).backward()
    pairs = list(itertools.combinations(x.tolist(), 2))
    assert model.couplings.grad.tolist() == [one * other for one, other in pairs]
    assert model.h.grad.tolist() == x.tolist()


@pytest.mark.parametrize(("units", "other"), [("spin", "binary"), ("binary", "spin")])
def test_the_other_convention_is_the_same_distribution(units, other, rng):
    J, h = random_couplings(5, rng)
    model = BoltzmannMachine(J, h, units)
    mapped, offset = model.to_units(other)
    here = list(itertools.product(VALUES[units], repeat=5))
    there = list(itertools.product(VALUES[other], repeat=5))
    energies = [energy_by_terms(model.J.tolist(), model.h.tolist(), x) for x in here]
    mapped_energies = [energy_by_terms(mapped.J.tolist(), mapped.h.tolist(), x) for x in there]
    assert mapped.units == other
    assert energies == pytest.approx([e + float(offset) for e in mapped_energies], abs=1e-12)


def test_the_same_convention_gives_an_equal_model_of_its_own(rng):
    model = BoltzmannMachine(*random_couplings(3, rng))
    copy, offset = model.to_units("spin")
    assert torch.equal(copy.J, model.J)
    assert torch.equal(copy.h, model.h)
    assert float(offset) == 0.0
    copy.h.data += 1
    assert not torch.equal(copy.h, model.h)


def test_parameters_do_not_share_memory_with_what_was_given(rng):
    J, h = random_couplings(3, rng)
    model = BoltzmannMachine(J, h)
    before = model.J.tolist(), model.h.tolist()
    J[0, 1] = J[1, 0] = 7.0
    h[0] = 7.0
    assert (model.J.tolist(), model.h.tolist()) == before


ZERO = torch.zeros(2, 2, dtype=torch.float64)
FIELD = torch.zeros(2, dtype=torch.float64)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("J", "h", "error", "match"),
    [
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double(), FIELD, ValueError, r"pass J \+ J\.T"),
        (torch.eye(2).double(), FIELD, ValueError, "zero diagonal.*torch.diag"),
        (ZERO, torch.zeros(3).double(), ValueError, r"J must have shape \(3, 3\)"),
        (ZERO, torch.zeros(2, 1).double(), ValueError, r"h must have shape"),
        (torch.zeros(0, 0), torch.zeros(0), ValueError, "empty"),
        (ZERO, torch.tensor([0.0, math.nan]).double(), ValueError, "h must be finite"),
        (ZERO + math.inf, FIELD, ValueError, "J must be finite"),
        (ZERO.float(), FIELD, TypeError, "one dtype"),
        (ZERO.long(), FIELD, TypeError, "floating-point"),
        (ZERO.tolist(), FIELD, TypeError, "torch.as_tensor"),
    ],
)
def test_bad_parameters_are_refused(J, h, error, match):
    with pytest.raises(error, match=match):
        BoltzmannMachine(J, h)


@pytest.mark.bad_input
def test_unknown_units_are_refused():
    with pytest.raises(ValueError, match=r"spin.*binary"):
        BoltzmannMachine(ZERO, FIELD, "ising")
    with pytest.raises(ValueError, match=r"spin.*binary"):
        BoltzmannMachine(ZERO, FIELD).to_units("ising")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("units", "x", "match"),
    [
        ("spin", [[0.0, 1.0]], r"2 \* x - 1"),
        ("binary", [[-1.0, 1.0]], r"\(x \+ 1\) / 2"),
        ("spin", [[0.5, 1.0]], "0.5"),
        ("spin", [[math.nan, 1.0]], "finite"),
        ("spin", [[1.0, 1.0, 1.0]], "shape"),
    ],
)
def test_bad_configurations_are_refused(units, x, match):
    with pytest.raises(ValueError, match=match):
        BoltzmannMachine(ZERO, FIELD, units).energy(torch.tensor(x))
