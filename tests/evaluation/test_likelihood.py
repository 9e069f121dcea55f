"""A score says what kind of number it is, and the truth lies where it says."""

import math

import pytest
import torch

from lecture_pkg._states import enumerate_states
from lecture_pkg.evaluation import likelihood, log_odds_field, score
from lecture_pkg.models import RBM, BoltzmannMachine, IsingLattice


def random_rbm(n_visible: int, n_hidden: int, units: str = "binary", dtype=torch.float64) -> RBM:
    rng = torch.Generator().manual_seed(51)
    W = torch.randn(n_visible, n_hidden, generator=rng, dtype=torch.float64) * 0.6
    b = torch.randn(n_visible, generator=rng, dtype=torch.float64)
    c = torch.randn(n_hidden, generator=rng, dtype=torch.float64)
    return RBM.from_parameters(W.to(dtype), b.to(dtype), c.to(dtype), units)


def exact_log_likelihood(rbm: RBM, x: torch.Tensor) -> float:
    """By summing over every joint configuration."""
    states = enumerate_states(0, 2**rbm.n_visible, rbm.n_visible, rbm.units)
    z = enumerate_states(0, 2**rbm.n_hidden, rbm.n_hidden, rbm.units)
    W, b, c = (t.detach().double() for t in (rbm.W, rbm.b, rbm.c))

    def log_weight(x):
        return (x @ W @ z.T + (x @ b)[:, None] + z @ c).logsumexp(1)

    return float(log_weight(x.double()).mean() - log_weight(states).logsumexp(0))


def data(n: int, dim: int, units: str) -> torch.Tensor:
    rng = torch.Generator().manual_seed(52)
    x = (torch.rand(n, dim, generator=rng, dtype=torch.float64) < 0.3).double()
    x[:, 0] = 1  # a constant pixel
    return 2 * x - 1 if units == "spin" else x


@pytest.mark.parametrize("units", ["spin", "binary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_where_a_layer_is_small(units, dtype):
    rbm, x = random_rbm(7, 5, units, dtype), data(11, 7, units)
    found = score(rbm, x)
    truth = exact_log_likelihood(rbm, x)
    assert found.kind == "exact"
    assert found.value == pytest.approx(truth, abs=1e-10 if dtype == torch.float64 else 1e-4)
    assert found.lower == found.value == found.upper
    assert found.standard_error == 0
    assert str(found) == f"{truth:.2f} nats (exact)"


def test_a_boltzmann_machine_is_scored_as_well():
    x = data(9, 5, "spin")
    J, h = torch.zeros(5, 5, dtype=torch.float64), torch.linspace(-1, 1, 5, dtype=torch.float64)
    # Independent units: their likelihood is a sum over units.
    truth = float((x * h - (2 * h.cosh()).log()).sum(1).mean())
    assert score(BoltzmannMachine(J, h), x).value == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("units", ["spin", "binary"])
def test_annealed_score_covers_and_sandwiches_the_truth(units, monkeypatch):
    monkeypatch.setattr(likelihood, "_EXACT_UNITS", 0)
    rbm, x = random_rbm(9, 6, units), data(20, 9, units)
    truth = exact_log_likelihood(rbm, x)
    rng = torch.Generator().manual_seed(53)
    for training_data in (None, x):
        found = score(
            rbm, x, training_data=training_data, n_temperatures=100, n_chains=500, rng=rng
        )
        assert found.kind == "AIS"
        assert found.standard_error < 0.05
        # Five standard errors: false alarm 6e-7. The interval is two wide, so of three more.
        assert abs(found.value - truth) < 5 * found.standard_error
        assert found.lower - 3 * found.standard_error < truth
        assert truth < found.upper + 3 * found.standard_error
        assert found.lower < found.value < found.upper
        between = f"between {found.lower:.2f} and {found.upper:.2f}"
        assert str(found).endswith(f"nats (AIS, {between})")
        assert f"± {found.standard_error:.2f}" in str(found)


def test_interval_holds_the_truth_in_most_of_many_runs(monkeypatch):
    monkeypatch.setattr(likelihood, "_EXACT_UNITS", 0)
    rbm, x = random_rbm(6, 4), data(5, 6, "binary")
    truth = exact_log_likelihood(rbm, x)
    rng = torch.Generator().manual_seed(54)
    runs = [score(rbm, x, n_temperatures=10, n_chains=50, rng=rng) for _ in range(200)]
    within = sum(run.lower < truth < run.upper for run in runs)
    # Each end fails in 2.3 percent of the runs: 95.4 percent of 200, and a deviation of 5 sigma.
    assert within >= 175
    covered = sum(abs(run.value - truth) < run.standard_error for run in runs)
    assert 104 <= covered <= 169  # 68.3 percent of 200, false alarm 1e-6


def test_trusted_samples_are_used_for_the_reverse_run(monkeypatch):
    monkeypatch.setattr(likelihood, "_EXACT_UNITS", 0)
    # Two peaks that chains do not cross, in a ratio of nine to one.
    W = torch.full((8, 1), 3.0, dtype=torch.float64)
    b = torch.full((8,), math.log(9) / 16, dtype=torch.float64)
    peaks = RBM.from_parameters(W, b, torch.zeros(1).double(), "spin")
    x = torch.ones(2, 8, dtype=torch.float64)
    truth = exact_log_likelihood(peaks, x)
    rng = torch.Generator().manual_seed(55)
    sign = torch.ones(400, dtype=torch.float64)
    sign[:40] = -1
    both, small = sign[:, None].expand(400, 8).clone(), -torch.ones(400, 8, dtype=torch.float64)
    found = score(peaks, x, samples=both, n_temperatures=400, n_chains=400, rng=rng)
    assert abs(found.value - truth) < 5 * found.standard_error
    assert found.lower - 3 * found.standard_error < truth
    # From the small peak alone the reverse run takes Z for smaller than it is: forwards more
    # chains arrive there than belong there. Then the lower end is above the truth.
    misled = score(peaks, x, samples=small, n_temperatures=400, n_chains=400, rng=rng)
    assert misled.lower > truth + 0.2


def test_a_boltzmann_machine_beyond_enumeration():
    n = 30  # a chain of spins: its Z is a product over the bonds
    couplings = torch.linspace(-1, 1, n - 1, dtype=torch.float64)
    J = torch.diag(couplings, 1) + torch.diag(couplings, -1)
    model = BoltzmannMachine(J, torch.zeros(n, dtype=torch.float64))
    log_z = n * math.log(2) + float(couplings.cosh().log().sum())
    x = data(4, n, "spin")
    truth = float((x[:, :-1] * x[:, 1:] * couplings).sum(1).mean()) - log_z
    rng = torch.Generator().manual_seed(56)
    found = score(model, x, n_temperatures=60, n_chains=200, rng=rng)
    assert found.kind == "AIS"
    assert abs(found.value - truth) < 5 * found.standard_error
    assert found.standard_error < 0.2


def test_a_lattice_beyond_enumeration(monkeypatch):
    monkeypatch.setattr(likelihood, "_EXACT_UNITS", 0)
    rng = torch.Generator().manual_seed(57)
    right, down, h = 0.5 * torch.randn(3, 2, 5, generator=rng, dtype=torch.float64)
    states = enumerate_states(0, 2**10, 10, "spin").view(-1, 2, 5)
    bonds = right * states.roll(-1, 2) + down * states.roll(-1, 1) + h
    log_weights = (states * bonds).sum((1, 2))
    x = states.flatten(1)[[3, 77, 900, 901]]
    truth = float(log_weights[[3, 77, 900, 901]].mean() - log_weights.logsumexp(0))
    found = score(IsingLattice(right, down, h), x, n_temperatures=40, n_chains=300, rng=rng)
    assert found.kind == "AIS"
    assert abs(found.value - truth) < 5 * found.standard_error < 0.5


def test_log_odds_field():
    x = torch.tensor([[1, 0, 1], [1, 0, 0], [1, 0, 0]])
    expected = torch.tensor([math.log(4), math.log(1 / 4), math.log(2 / 3)]).double()
    assert torch.allclose(log_odds_field(x, "binary"), expected)
    assert torch.allclose(log_odds_field(2 * x - 1, "spin"), expected / 2)


@pytest.mark.bad_input
def test_bad_input():
    rbm, x = random_rbm(7, 5), data(11, 7, "binary")
    with pytest.raises(ValueError, match="shape"):
        score(rbm, x[:, :6])
    with pytest.raises(ValueError, match="spin values"):
        score(rbm, 2 * x - 1)
    with pytest.raises(TypeError, match="energy"):
        score(torch.nn.Linear(2, 2), x)
    with pytest.raises(TypeError, match="rng must be given"):
        score(random_rbm(30, 30), data(2, 30, "binary"))
    with pytest.raises(ValueError, match="binary"):
        log_odds_field(x, "spin")

    class Large:
        units, n_units = "binary", 40

        def energy(self, x):
            return x.sum(-1)

    with pytest.raises(TypeError, match="no kernel is known"):
        score(Large(), data(2, 40, "binary"), rng=torch.Generator())
