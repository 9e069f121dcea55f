"""The RBM against sums written out term by term, and the map between the unit conventions."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lecture_pkg.models import RBM
from lecture_pkg.models.rbm import log_sum_over_unit, mean_of_unit, sample_unit

VALUES = {"spin": (-1, 1), "binary": (0, 1)}
UNITS = pytest.mark.parametrize("units", ["spin", "binary"])
OTHER = {"spin": "binary", "binary": "spin"}


def random_rbm(n_visible, n_hidden, units, rng, dtype=torch.float64):
    W = torch.randn(n_visible, n_hidden, dtype=torch.float64, generator=rng)
    b = torch.randn(n_visible, dtype=torch.float64, generator=rng)
    c = torch.randn(n_hidden, dtype=torch.float64, generator=rng)
    return RBM.from_parameters(W.to(dtype), b.to(dtype), c.to(dtype), units)


def listed(n, units):
    return list(itertools.product(VALUES[units], repeat=n))


def energy_by_terms(model, x, z):
    W, b, c = (parameter.tolist() for parameter in (model.W, model.b, model.c))
    couplings = sum(W[k][m] * x[k] * z[m] for k in range(len(b)) for m in range(len(c)))
    fields = sum(map(math.prod, zip(b, x, strict=True)))
    return -couplings - fields - sum(map(math.prod, zip(c, z, strict=True)))


def energies(model):
    """The energies of all pairs of states: rows x, columns z."""
    x, z = listed(model.n_visible, model.units), listed(model.n_hidden, model.units)
    return np.array([[energy_by_terms(model, one, other) for other in z] for one in x])


@UNITS
@pytest.mark.parametrize(("n_visible", "n_hidden"), [(1, 1), (3, 2), (2, 4)])
def test_energy_term_by_term(n_visible, n_hidden, units, rng):
    model = random_rbm(n_visible, n_hidden, units, rng)
    x = torch.tensor(listed(n_visible, units))  # integers, as a reader would write them
    z = torch.tensor(listed(n_hidden, units))
    x, z = x[:, None].expand(-1, len(z), -1), z.expand(len(x), -1, -1)
    energy = model.energy(x, z).detach()
    assert energy.dtype == torch.float64
    np.testing.assert_allclose(energy, energies(model), atol=1e-12)


@UNITS
def test_free_energies_equal_sums_over_the_other_layer(units, rng):
    model = random_rbm(4, 3, units, rng)
    E = energies(model)
    x, z = (torch.tensor(listed(n, units)) for n in (4, 3))
    np.testing.assert_allclose(model.free_energy(x).detach(), -logsumexp(-E, axis=1), atol=1e-12)
    hidden = model.hidden_free_energy(z).detach()
    np.testing.assert_allclose(hidden, -logsumexp(-E, axis=0), atol=1e-12)
    batch = x.reshape(2, 8, 4)
    assert torch.equal(model.free_energy(batch), model.free_energy(x).reshape(2, 8))


@UNITS
def test_conditional_means_equal_enumeration(units, rng):
    model = random_rbm(4, 3, units, rng)
    q = np.exp(-energies(model))
    x, z = (np.array(listed(n, units)) for n in (4, 3))
    mean_hidden = model.mean_hidden(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(mean_hidden, q @ z / q.sum(1, keepdims=True), atol=1e-12)
    mean_visible = model.mean_visible(torch.from_numpy(z)).detach()
    np.testing.assert_allclose(mean_visible, q.T @ x / q.sum(0)[:, None], atol=1e-12)


@UNITS
def test_samples_follow_the_conditionals(units, rng):
    """Joint frequencies, not only means: 8 + 16 cells of 200 000 draws, each within 5.7 standard
    errors: false alarm 24 · 1.2e-8 < 1e-6."""
    model, n = random_rbm(4, 3, units, rng), 200_000
    q = np.exp(-energies(model))
    x, z = (torch.tensor(listed(k, units)) for k in (4, 3))
    drawn = (
        (model.sample_hidden(x[11].expand(n, -1), rng=rng), q[11] / q[11].sum()),
        (model.sample_visible(z[2].expand(n, -1), rng=rng), q[:, 2] / q[:, 2].sum()),
    )
    for samples, expected in drawn:
        assert samples.dtype == torch.float64
        assert not samples.requires_grad
        digits = (samples > 0).long()
        cells = digits @ (2 ** torch.arange(samples.shape[1] - 1, -1, -1))
        assert set(samples.unique().tolist()) == set(map(float, VALUES[units]))
        frequency = torch.bincount(cells, minlength=len(expected)).numpy() / n
        error = np.sqrt(expected * (1 - expected) / n)
        assert (np.abs(frequency - expected) < 5.7 * error + 10 / n).all()


@UNITS
def test_the_same_seed_draws_the_same_units(units, rng):
    model = random_rbm(5, 7, units, rng)
    x = torch.tensor(listed(5, units))
    once, again, later = (
        model.sample_hidden(x, rng=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, later)


@UNITS
def test_one_uniform_number_decides_each_unit(units):
    """The upper value where the number is below its probability, by the same generator."""
    field = torch.linspace(-3, 3, 50, dtype=torch.float64)
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    factor = 2 if units == "spin" else 1
    upper = 1 / (1 + np.exp(-factor * field.numpy()))
    expected = np.where(uniform.numpy() < upper, VALUES[units][1], VALUES[units][0])
    drawn = sample_unit(field, units, rng=torch.Generator().manual_seed(3))
    assert drawn.tolist() == expected.tolist()


@UNITS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_unit_in_any_field(dtype, units):
    """At ±1e4 the naive forms are infinite in float32; near 20 torch's softplus drops e^-20."""
    field = torch.tensor([-1e4, -100, -20.5, -1, -0.0, 0.3, 19, 20.5, 30, 1e4], dtype=dtype)
    field.requires_grad_()
    values = np.array(VALUES[units], dtype=float)
    exponents = np.outer(field.detach().double().numpy(), values)
    expected = logsumexp(exponents, axis=1)
    mean = np.exp(exponents - expected[:, None]) @ values
    result = log_sum_over_unit(field, units)
    tolerance = 2e-7 if dtype == torch.float32 else 1e-15
    np.testing.assert_allclose(result.detach(), expected, rtol=tolerance, atol=1e-45)
    np.testing.assert_allclose(mean_of_unit(field.detach(), units), mean, atol=tolerance)
    slope = torch.autograd.grad(result.sum(), field)[0]
    np.testing.assert_allclose(slope, mean, atol=tolerance)
    with np.errstate(over="ignore"):
        naive = np.log(np.exp(exponents.astype("float32")).sum(1))
    assert np.isinf(naive).any()


@UNITS
def test_free_energy_in_float32_stays_finite_and_right(units):
    """Mistake 2 of public code: ln(1 + e^x) as written on paper."""
    W = torch.tensor([[20.0, -20.0, 3.0], [-20.0, 20.0, 1.0]])
    model = RBM.from_parameters(
        W, torch.tensor([100.0, -100.0]), torch.tensor([1e4, -1e4, 0.5]), units
    )
    x, z = (torch.tensor(listed(n, units)) for n in (2, 3))
    E = energies(model)
    np.testing.assert_allclose(model.free_energy(x).detach(), -logsumexp(-E, axis=1), rtol=1e-6)
    hidden = model.hidden_free_energy(z).detach()
    np.testing.assert_allclose(hidden, -logsumexp(-E, axis=0), rtol=1e-6)


@UNITS
def test_the_other_convention_is_the_same_distribution(units, rng):
    model = random_rbm(4, 3, units, rng)
    mapped, offset = model.to_units(OTHER[units])
    assert mapped.units == OTHER[units]
    np.testing.assert_allclose(energies(model), energies(mapped) + float(offset), atol=1e-12)
    log_z, mapped_log_z = (logsumexp(-energies(m)) for m in (model, mapped))
    assert log_z == pytest.approx(mapped_log_z - float(offset), abs=1e-12)
    back, offset_back = mapped.to_units(units)
    for one, other in zip(back.parameters(), model.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-14)
    assert float(offset_back) == pytest.approx(-float(offset), abs=1e-13)


def test_the_same_convention_gives_an_equal_model_of_its_own(rng):
    model = random_rbm(3, 2, "binary", rng)
    copy, offset = model.to_units("binary")
    assert float(offset) == 0.0
    for one, other in zip(copy.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
        one.data += 1
        assert not torch.equal(one, other)


@UNITS
def test_one_boltzmann_machine_of_all_units(units, rng):
    model = random_rbm(3, 2, units, rng)
    machine = model.to_boltzmann_machine()
    joint = torch.tensor([x + z for x in listed(3, units) for z in listed(2, units)])
    energy = machine.energy(joint).detach().reshape(8, 4)
    np.testing.assert_allclose(energy, energies(model), atol=1e-12)
    assert not machine.J[:3, :3].any()
    assert not machine.J[3:, 3:].any()


def test_a_new_model_is_drawn_from_its_generator():
    model = RBM(40, 50, rng=torch.Generator().manual_seed(7), scale=0.2)
    again = RBM(40, 50, rng=torch.Generator().manual_seed(7), scale=0.2)
    assert torch.equal(model.W, again.W)
    # 2000 normal numbers: the standard deviation is off by more than 10 % once in 10^9.
    assert 0.18 < float(model.W.detach().std()) < 0.22
    assert not model.b.any()
    assert not model.c.any()
    assert not RBM(2, 3).W.any()
    assert {p.dtype for p in RBM(2, 3, dtype=torch.float64).parameters()} == {torch.float64}
    assert repr(RBM(2, 3, "binary")) == 'RBM(n_visible=2, n_hidden=3, units="binary")'


def test_parameters_do_not_share_memory_with_what_was_given():
    given = torch.ones(2, 3), torch.ones(2), torch.ones(3)
    model = RBM.from_parameters(*given)
    for tensor in given:
        tensor += 1
    assert all((p == 1).all() for p in model.parameters())


W, B, C = torch.zeros(2, 3), torch.zeros(2), torch.zeros(3)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ((W, C, B), ValueError, r"b must have shape \(2\)"),
        ((W, B, torch.zeros(3, 1)), ValueError, r"c must have shape \(3\)"),
        ((torch.zeros(2), B, C), ValueError, r"W must have shape \(\*, \*\)"),
        ((W, B, C.double()), TypeError, "one dtype"),
        ((W.long(), B, C), TypeError, "W must hold floating-point"),
        ((W.tolist(), B, C), TypeError, "torch.as_tensor"),
        ((W, B + math.nan, C), ValueError, "b must be finite"),
        ((W + math.inf, B, C), ValueError, "W must be finite"),
        ((W, B, C, "ising"), ValueError, r"spin.*binary"),
    ],
)
def test_bad_parameters_are_refused(parameters, error, match):
    with pytest.raises(error, match=match):
        RBM.from_parameters(*parameters)


@pytest.mark.bad_input
def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="n_visible must be at least 1"):
        RBM(0, 3)
    with pytest.raises(TypeError, match="n_hidden must be an integer"):
        RBM(2, 3.0)
    with pytest.raises(ValueError, match=r"spin.*binary"):
        RBM(2, 3, "ising")
    with pytest.raises(ValueError, match=r"spin.*binary"):
        RBM(2, 3).to_units("ising")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("units", "x", "error", "match"),
    [
        ("spin", torch.zeros(1, 2), ValueError, r"2 \* x - 1"),
        ("binary", -torch.ones(1, 2), ValueError, r"\(x \+ 1\) / 2"),
        ("binary", torch.full((1, 2), 0.5), ValueError, "0.5"),
        ("spin", torch.tensor([[math.nan, 1]]), ValueError, "finite"),
        ("spin", torch.ones(1, 3), ValueError, r"x must have shape \(1, 2\)"),
        ("spin", [[1.0, 1.0]], TypeError, "torch.as_tensor"),
    ],
)
def test_bad_configurations_are_refused(units, x, error, match):
    rng, model = torch.Generator(), RBM(2, 3, units)
    good = torch.ones(1, 3)
    calls = (
        lambda: model.energy(x, good),
        lambda: model.free_energy(x),
        lambda: model.mean_hidden(x),
        lambda: model.sample_hidden(x, rng=rng),
    )
    for call in calls:
        with pytest.raises(error, match=match):
            call()


@pytest.mark.bad_input
def test_bad_hidden_configurations_are_refused():
    rng, model = torch.Generator(), RBM(2, 3)
    for call in (
        lambda z: model.energy(torch.ones(1, 2), z),
        model.hidden_free_energy,
        model.mean_visible,
        lambda z: model.sample_visible(z, rng=rng),
    ):
        with pytest.raises(ValueError, match=r"z must hold spin values.*2 \* z - 1"):
            call(torch.zeros(1, 3))
