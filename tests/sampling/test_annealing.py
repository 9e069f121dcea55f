"""Simulated annealing on systems whose ground state and thermal means are enumerated."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import BlockGibbs, HeatBath, Kernel, simulated_annealing


def normal(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def make_glass(dtype: torch.dtype = torch.float64) -> BoltzmannMachine:
    J = normal(14, 14, seed=1).triu(1)
    return BoltzmannMachine((J + J.T).to(dtype), 0.3 * normal(14, seed=2).to(dtype), "spin")


def glass_energies(x: Tensor) -> Tensor:
    """The sum over pairs written out, k < l."""
    glass = make_glass()
    J, h = glass.J.detach(), glass.h.detach()
    pairs = sum(J[k, m] * x[:, k] * x[:, m] for k in range(14) for m in range(k + 1, 14))
    return -(pairs + x @ h)


STATES = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=14)), dtype=torch.float64)


class Recorder(Kernel):
    """A kernel that writes down what it is asked for, and adds one to its chains."""

    units = "binary"
    n_units = 2
    dtype = torch.float64

    def __init__(self, lowest: float = 3.0) -> None:
        self.lowest = lowest
        self.asked: list[float] = []

    def initial(self, n_chains: int, *, rng: torch.Generator) -> Tensor:
        return torch.zeros(n_chains, 2, dtype=torch.float64)

    def sweep(self, x: Tensor, beta: float = 1.0, *, rng: torch.Generator) -> Tensor:
        self.asked.append(beta)
        return x + 1

    def energy(self, x: Tensor, beta: float = 1.0) -> Tensor:
        return (x[:, 0] - self.lowest).square()


def test_every_temperature_gets_its_sweeps_in_order(rng: torch.Generator) -> None:
    kernel = Recorder()
    betas = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    run = simulated_annealing(kernel, betas, 4, sweeps_per_temperature=2, rng=rng)
    assert kernel.asked == [0.5, 0.5, 2.0, 2.0, 1.0, 1.0]
    assert run.x.tolist() == [[6.0, 6.0]] * 4
    assert run.energy.tolist() == [9.0] * 4
    assert run.best_x.tolist() == [[3.0, 3.0]] * 4  # passed on the way
    assert run.best_energy.tolist() == [0.0] * 4
    assert run.mean_energy.tolist() == [1.0, 1.0, 9.0]


def test_the_best_may_be_the_start(rng: torch.Generator) -> None:
    start = torch.ones(3, 2, dtype=torch.float64)
    betas = torch.tensor([1.0, 2.0], dtype=torch.float64)
    run = simulated_annealing(Recorder(lowest=1.0), betas, 3, initial=start, rng=rng)
    assert run.x.tolist() == [[3.0, 3.0]] * 3
    assert run.best_x.tolist() == [[1.0, 1.0]] * 3
    assert run.best_energy.tolist() == [0.0] * 3


def test_slow_cooling_finds_the_ground_state_and_more_often_than_fast(
    rng: torch.Generator,
) -> None:
    energies = glass_energies(STATES)
    ground, n = energies.min(), 1500
    success = []
    for n_betas in (3, 20, 300):
        betas = torch.linspace(0.02, 2.5, n_betas, dtype=torch.float64)
        run = simulated_annealing(HeatBath(make_glass()), betas, n, rng=rng)
        torch.testing.assert_close(run.energy, glass_energies(run.x))
        torch.testing.assert_close(run.best_energy, glass_energies(run.best_x))
        assert (run.best_energy <= run.energy).all()
        assert (run.best_energy >= ground - 1e-9).all()
        success.append(float((run.energy < ground + 1e-9).double().mean()))
    # The difference of two fractions of 1500 has a standard deviation of 0.018 at most;
    # 5.5 of those, or more, is a false alarm in less than one case of 10^7.
    for fast, slow in itertools.pairwise(success):
        assert slow > fast + 0.1
    assert success[-1] > 0.6


def test_the_mean_energy_of_a_slow_run_is_thermal(rng: torch.Generator) -> None:
    betas = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    energies = glass_energies(STATES)
    exact = torch.stack([(-b * energies).softmax(0) @ energies for b in betas])
    n = 20_000
    run = simulated_annealing(HeatBath(make_glass()), betas, n, sweeps_per_temperature=30, rng=rng)
    variance = torch.stack([(-b * energies).softmax(0) @ energies.square() for b in betas])
    deviation = ((variance - exact**2) / n).sqrt()
    assert ((run.mean_energy - exact).abs() < 5.4 * deviation).all()  # false alarm 2e-7
    assert ((run.mean_energy_error / deviation - 1).abs() < 0.1).all()


def test_an_rbm_is_annealed_with_its_hidden_units_summed_out(rng: torch.Generator) -> None:
    W, b, c = normal(6, 9, seed=7), 0.3 * normal(6, seed=8), 0.3 * normal(9, seed=9)
    rbm = RBM.from_parameters(W, b, c, "spin")
    x = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64)
    lowest = -(x @ b + (x @ W + c).abs().sum(1))  # of E(x, z) over z
    betas = torch.linspace(0, 12, 200, dtype=torch.float64)  # far beyond one
    run = simulated_annealing(BlockGibbs(rbm), betas, 300, rng=rng)
    field = run.x @ W + c
    expected = -(run.x @ b + (field * torch.tanh(12 * field)).sum(1))
    torch.testing.assert_close(run.energy, expected)
    found = run.best_energy.min()
    assert abs(found - lowest.min()) < 0.05
    best = run.best_x[run.best_energy.argmin()]
    assert torch.equal(best, x[lowest.argmin()])


def test_two_runs_are_one_long_run() -> None:
    kernel = HeatBath(make_glass())
    betas = torch.linspace(0.1, 2, 12, dtype=torch.float64)
    rng = torch.Generator().manual_seed(5)
    whole = simulated_annealing(kernel, betas, 6, sweeps_per_temperature=2, rng=rng)
    rng.manual_seed(5)
    a = simulated_annealing(kernel, betas[:5], 6, sweeps_per_temperature=2, rng=rng)
    before = a.x.clone()
    b = simulated_annealing(kernel, betas[5:], 6, sweeps_per_temperature=2, initial=a.x, rng=rng)
    assert torch.equal(b.x, whole.x)
    assert torch.equal(a.x, before)
    assert torch.equal(torch.minimum(a.best_energy, b.best_energy), whole.best_energy)
    assert torch.equal(torch.cat([a.mean_energy, b.mean_energy]), whole.mean_energy)


def test_chains_start_from_the_hot_end_unless_told(rng: torch.Generator) -> None:
    kernel = HeatBath(make_glass())
    cold = torch.tensor([1e6], dtype=torch.float64)
    start = STATES[[5, 900]]
    run = simulated_annealing(kernel, cold, 2, initial=start, rng=rng)
    assert (run.energy <= glass_energies(start) + 1e-9).all()  # a quench only goes down
    with_default = simulated_annealing(kernel, 0 * cold, 4000, rng=rng)
    # 56 000 fair coins, a false alarm in less than one case of 10^7.
    assert abs(float(with_default.x.mean())) < 5.4 / math.sqrt(4000 * 14)


def test_float32_stays_float32_and_one_chain_has_no_error_bar(rng: torch.Generator) -> None:
    run = simulated_annealing(
        HeatBath(make_glass(torch.float32)), torch.linspace(0, 20, 40), 1, rng=rng
    )
    assert run.x.dtype == run.best_energy.dtype == torch.float32
    assert run.mean_energy.dtype == torch.float64
    assert run.mean_energy_error.isnan().all()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"betas": torch.tensor([])}, ValueError, "empty"),
        ({"betas": torch.tensor([0.1, -0.2])}, ValueError, "negative"),
        ({"betas": torch.tensor([0.1, torch.nan])}, ValueError, "finite"),
        ({"betas": torch.ones(2, 2)}, ValueError, "betas must have shape"),
        ({"betas": 1.0}, TypeError, "betas must be a torch.Tensor"),
        ({"n_chains": -1}, ValueError, "n_chains"),
        ({"sweeps_per_temperature": 0}, ValueError, "sweeps_per_temperature"),
        ({"initial": torch.ones(3, 13).double()}, ValueError, "initial must have shape"),
        ({"initial": torch.zeros(3, 14).double()}, ValueError, "spin values"),
        ({"initial": torch.ones(3, 14)}, TypeError, "dtype"),
        ({"initial": torch.ones(3, 14).long()}, TypeError, "floating-point"),
    ],
)
def test_bad_input_is_refused(
    change: dict, error: type[Exception], match: str, rng: torch.Generator
) -> None:
    good = {"betas": torch.tensor([0.1, 1.0]), "n_chains": 3}
    with pytest.raises(error, match=match):
        simulated_annealing(HeatBath(make_glass()), **(good | change), rng=rng)
