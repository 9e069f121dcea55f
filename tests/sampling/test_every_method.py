"""Every method of many temperatures, with every kernel and model, has the exact distributions.

The truth is a sum over all states, from energies written out. Bounds on total variation: for n
independent draws from p, the mean distance is at most ½ Σ sqrt(p (1 - p) / n), and it is exceeded
by ε with probability at most exp(-2 n ε²) (McDiarmid's inequality). The draws are the states of
independent chains at one moment; weighted or copied ones count as many as their effective number.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lecture_pkg.models import RBM, BoltzmannMachine, IsingLattice
from lecture_pkg.sampling import (
    BlockGibbs,
    Checkerboard,
    HeatBath,
    Kernel,
    Metropolis,
    MultiSpin,
    SuwaTodo,
    annealed_importance_sampling,
    exchange_monte_carlo,
    lattice_exchange_monte_carlo,
    population_annealing,
    simulated_annealing,
    simulated_tempering,
)

FALSE_ALARM = 1e-8  # of each comparison; a test makes four at most
BETAS = torch.tensor([0.0, 0.35, 0.7, 1.0], dtype=torch.float64)
LOW = {"spin": -1.0, "binary": 0.0}
STRENGTH = {"spin": 0.8, "binary": 2.5}
SIGMAS = 5.8  # two-sided: 7e-9 for a normal variable
N, SWEEPS = 6000, 6

FreeEnergies = Callable[[float], Tensor]  # F_β of all states, in the order of binary numbers


def normal(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def all_states(n: int, units: str) -> Tensor:
    return torch.tensor(list(itertools.product([LOW[units], 1.0], repeat=n))).double()


def machine(n: int, units: str, scale: float) -> tuple[BoltzmannMachine, FreeEnergies]:
    J, h, x = scale * normal(n, n, seed=1).triu(1), 0.4 * normal(n, seed=2), all_states(n, units)
    energy = -torch.einsum("si,ij,sj->s", x, J, x) - x @ h
    return BoltzmannMachine(J + J.T, h, units), lambda beta: beta * energy


def rbm(n: int, m: int, units: str, scale: float) -> tuple[RBM, FreeEnergies, FreeEnergies]:
    """The model, F_β with the hidden units summed one by one, and βE of both layers together."""
    W, b, c = scale * normal(n, m, seed=3), 0.5 * normal(n, seed=4), 0.5 * normal(m, seed=5)
    x = all_states(n, units)

    def marginal(beta: float) -> Tensor:
        field = beta * (x @ W + c)
        return -beta * (x @ b) - torch.logaddexp(LOW[units] * field, field).sum(1)

    def joint(beta: float) -> Tensor:
        z = all_states(m, units)
        return -beta * (x @ W @ z.T + (x @ b)[:, None] + z @ c).flatten()

    return RBM.from_parameters(W, b, c, units), marginal, joint


def lattice(bonds: Tensor, h: Tensor) -> tuple[IsingLattice, FreeEnergies]:
    """Two rows and four columns; the bonds of the second row meet those of the first."""
    x = all_states(8, "spin").view(-1, 2, 4)
    energy = torch.zeros(256, dtype=torch.float64)
    for i, j in itertools.product(range(2), range(4)):
        energy -= bonds[0, i, j] * x[:, i, j] * x[:, i, (j + 1) % 4]
        energy -= bonds[1, i, j] * x[:, i, j] * x[:, 1 - i, j] + h[i, j] * x[:, i, j]
    return IsingLattice(bonds[0], bonds[1], h), lambda beta: beta * energy


def every_kernel() -> dict[str, tuple[Kernel, FreeEnergies]]:
    kernels: dict[str, tuple[Kernel, FreeEnergies]] = {}
    for units in LOW:
        bm, of_bm = machine(5, units, STRENGTH[units])
        small, marginal, joint = rbm(3, 2, units, STRENGTH[units])
        for kind in (HeatBath, Metropolis, SuwaTodo):
            kernels[f"{kind.__name__} machine {units}"] = kind(bm), of_bm
            kernels[f"{kind.__name__} rbm {units}"] = kind(small), joint
        kernels[f"BlockGibbs rbm {units}"] = BlockGibbs(small), marginal
    bm, of_bm = machine(5, "spin", STRENGTH["spin"])
    for single in (HeatBath, Metropolis):
        kernels[f"{single.__name__} random scan"] = single(bm, scan="random"), of_bm
    any_bonds, of_any = lattice(0.4 * normal(2, 2, 4, seed=6), 0.3 * normal(2, 4, seed=7))
    plus_minus, of_pm = lattice(0.3 * normal(2, 2, 4, seed=8).sign(), torch.zeros(2, 4).double())
    kernels["HeatBath lattice"] = HeatBath(any_bonds), of_any
    for rule in ("metropolis", "heat_bath"):
        kernels[f"Checkerboard {rule}"] = Checkerboard(any_bonds, rule), of_any
    kernels["MultiSpin"] = MultiSpin(plus_minus), of_pm
    return kernels


KERNELS = every_kernel()

# Samples at each temperature with their weights, which sum to one, and how many draws they are
# worth.
At = list[tuple[Tensor, Tensor, float]]


def alike(x: Tensor, worth: float | None = None) -> tuple[Tensor, Tensor, float]:
    n = len(x)
    return x, torch.full((n,), 1 / n, dtype=torch.float64), worth or n


def annealing(kernel: Kernel, free: FreeEnergies, n: int, sweeps: int, rng) -> At:
    """Many sweeps at each temperature: then nothing lags behind."""
    x, found = kernel.initial(n, rng=rng), []
    for beta in BETAS:
        at = {"sweeps_per_temperature": sweeps, "initial": x, "rng": rng}
        x = simulated_annealing(kernel, beta[None], n, **at).x
        found.append(alike(x))
    return found


def tempering(kernel: Kernel, free: FreeEnergies, n: int, sweeps: int, rng) -> At:
    g = -torch.stack([(-free(float(beta))).logsumexp(0) for beta in BETAS])
    run = simulated_tempering(
        kernel, BETAS, n, 4 * sweeps, weights=g, keep_every=4 * sweeps, rng=rng
    )
    share = torch.bincount(run.state.level) / n
    assert bool(((share - 0.25).abs() < SIGMAS * (0.25 * 0.75 / n) ** 0.5).all())
    return [alike(run.samples(k)) for k in range(len(BETAS))]


def exchange(kernel: Kernel, free: FreeEnergies, n: int, sweeps: int, rng) -> At:
    run = exchange_monte_carlo(
        kernel, BETAS, 2 * sweeps, n_replicas=n, keep_every=2 * sweeps, rng=rng
    )
    return [alike(run.samples(k)) for k in range(len(BETAS))]


def importance(kernel: Kernel, free: FreeEnergies, n: int, sweeps: int, rng) -> At:
    """One sweep only: the weights make up for what the chains lag behind."""
    run, found = None, []
    for k in range(1, len(BETAS)):
        run = annealed_importance_sampling(kernel, BETAS[k - 1 : k + 1], n, initial=run, rng=rng)
        log_z = float((-free(float(BETAS[k]))).logsumexp(0))
        assert abs(float(run.log_partition) - log_z) < SIGMAS * float(run.standard_error)
        found.append((run.x, (-run.work).softmax(0), float(run.importance_sample_size)))
    return [alike(kernel.initial(n, rng=rng)), *found]


def population(kernel: Kernel, free: FreeEnergies, n: int, sweeps: int, rng) -> At:
    run = population_annealing(kernel, BETAS, n, keep_samples=True, rng=rng)
    log_z = torch.stack([(-free(float(beta))).logsumexp(0) for beta in BETAS])
    assert bool(((run.log_partition - log_z).abs() <= SIGMAS * run.standard_error + 1e-9).all())
    assert run.samples is not None
    worth = (n / run.mean_square_family).tolist()
    return [alike(x, k) for x, k in zip(run.samples, worth, strict=True)]


METHODS = [annealing, tempering, exchange, importance, population]


def assert_exact(found: At, free: FreeEnergies, betas: Tensor = BETAS) -> None:
    for (x, weights, worth), beta in zip(found, betas.tolist(), strict=True):
        q = (-free(beta)).softmax(0)
        place = ((x > 0) * 2 ** torch.arange(x.shape[1] - 1, -1, -1)).sum(1)
        shares = torch.zeros_like(q).index_add_(0, place, weights)
        mean = 0.5 * float((q * (1 - q) / worth).sqrt().sum())
        allowed = mean + math.sqrt(-math.log(FALSE_ALARM) / (2 * worth))
        assert 0.5 * float((shares - q).abs().sum()) < allowed < 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", KERNELS)
def test_small_models(method, name: str, rng: torch.Generator) -> None:
    kernel, free = KERNELS[name]
    assert isinstance(kernel, Kernel)
    assert_exact(method(kernel, free, N, SWEEPS, rng), free)


@pytest.mark.parametrize("case", ["rbm", "glass"])
@pytest.mark.parametrize("method", [annealing, importance])  # the others in their own files
def test_rbm_of_8_by_16_and_glass_of_12_with_fields(method, case: str, rng) -> None:
    if case == "rbm":
        model, free, _ = rbm(8, 16, "spin", 0.25)
        kernel: Kernel = BlockGibbs(model)
    else:
        glass, free = machine(12, "spin", 0.3)
        kernel = HeatBath(glass)
    assert_exact(method(kernel, free, 30_000, 15, rng), free)


def test_exchange_of_lattices_in_machine_words(rng: torch.Generator) -> None:
    model, free = lattice(0.3 * normal(2, 2, 4, seed=8).sign(), torch.zeros(2, 4).double())
    run = lattice_exchange_monte_carlo(
        model, BETAS[1:], 40, n_replicas=20_000, keep_every=40, rng=rng
    )
    assert_exact([alike(run.samples(k)) for k in range(3)], free, BETAS[1:])


@pytest.mark.parametrize("method", [tempering, exchange])
def test_couplings_of_20_and_biases_of_100_in_float32(method, rng: torch.Generator) -> None:
    """The model is frozen into one state by tens of nats; the hot end is free."""
    W = torch.tensor([[20.0, -20.0], [-20.0, 20.0], [20.0, 20.0]])
    b, c = torch.tensor([100.0, -100.0, 0.5]), torch.tensor([-100.0, 3.0])
    x, z = all_states(3, "spin"), all_states(2, "spin")

    def free(beta: float) -> Tensor:
        joint = x @ W.double() @ z.T + (x @ b.double())[:, None] + z @ c.double()
        return -(beta * joint).logsumexp(1)

    kernel = BlockGibbs(RBM.from_parameters(W, b, c))
    found = method(kernel, free, 4000, 12, rng)
    assert all(at.dtype == torch.float32 for at, _, _ in found)
    assert_exact(found, free)
