import math

import numpy as np
import pytest
import torch

from lecture_pkg._states import enumerate_states
from lecture_pkg.models import BoltzmannMachine
from lecture_pkg.models.lattice import IsingLattice, edwards_anderson
from lecture_pkg.sampling._two_colours import TwoColours
from lecture_pkg.sampling.checkerboard import Checkerboard

RULES = ("metropolis", "heat_bath")


def glass(rows, columns, rng, dtype=torch.float64, scale=1.0):
    parameters = scale * torch.randn(3, rows, columns, generator=rng, dtype=torch.float64)
    return IsingLattice(*parameters.to(dtype))


def gibbs(lattice, beta):
    x = enumerate_states(0, 2**lattice.n_units, lattice.n_units, "spin")
    return (-beta * lattice.double().energy(x).detach()).softmax(0), x


def index_of(x):
    powers = 2 ** torch.arange(x.shape[-1] - 1, -1, -1)
    return ((x > 0).long() * powers).sum(-1)


def require_same_distribution(x, probabilities):
    """Pearson's statistic over the cells that expect enough, the rest in one cell."""
    counts = torch.bincount(index_of(x), minlength=len(probabilities)).double()
    expected = len(x) * probabilities
    assert counts[probabilities == 0].sum() == 0
    enough = expected >= 20
    seen, wanted = (
        torch.cat([cells[enough], cells[~enough].sum()[None]]) for cells in (counts, expected)
    )
    keep = wanted > 5
    chi2 = ((seen - wanted) ** 2 / wanted)[keep].sum()
    degrees = int(keep.sum())
    # Wilson-Hilferty: a normal number; beyond 6 with probability 1e-9.
    z = ((chi2 / degrees) ** (1 / 3) - 1 + 2 / (9 * degrees)) / math.sqrt(2 / (9 * degrees))
    assert z < 6


def kaufman_energy(L, K, step=1e-5):
    """Energy of the L x L ferromagnet on a torus, by Kaufman's sum of four products (1949)."""

    def log_z(K):
        n = torch.arange(2 * L, dtype=torch.float64)
        gamma = torch.acosh(math.cosh(2 * K) / math.tanh(2 * K) - torch.cos(math.pi * n / L))
        gamma[0] = 2 * K + math.log(math.tanh(K))  # negative above the critical temperature
        even, odd = L / 2 * gamma[0::2], L / 2 * gamma[1::2]
        products = [(2 * f(g)).prod() for g in (odd, even) for f in (torch.cosh, torch.sinh)]
        return L * L / 2 * math.log(2 * math.sinh(2 * K)) + (sum(products) / 2).log()

    return -float(log_z(K + step) - log_z(K - step)) / (2 * step)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.3])
@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 2)])
def test_matrix_is_stochastic_and_leaves_the_path_invariant(rule, beta, shape, rng):
    lattice = glass(*shape, rng)
    w = Checkerboard(lattice, rule).transition_matrix(beta)
    q, _ = gibbs(lattice, beta)
    assert (w >= 0).all()
    torch.testing.assert_close(
        w.sum(0), torch.ones(len(w), dtype=torch.float64), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(w @ q, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4), (6, 8), (2, 64), (4, 70)])  # short rows, long rows
def test_four_neighbours_make_up_the_local_field(shape, rng):
    lattice = glass(*shape, rng)
    colours = TwoColours(shape)
    x = 2 * torch.randint(2, (3, lattice.n_units), generator=rng).double() - 1
    fields = (x @ lattice.to_boltzmann_machine().J.detach()).numpy()
    spins, bonds = colours.split(x.numpy()), colours.bonds(lattice)
    assert (colours.join(spins) == x.numpy()).all()
    for colour in (0, 1):
        out = np.empty((4, *spins[colour].shape))
        terms = colours.combine(np.multiply, spins[1 - colour], bonds[colour], colour, out=out)
        here = fields[:, colours.sites[colour]]
        np.testing.assert_allclose(terms.sum(0), here, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_sweep_in_order_breaks_detailed_balance(rule, rng):
    lattice = glass(2, 4, rng)
    w, (q, _) = Checkerboard(lattice, rule).transition_matrix(0.8), gibbs(lattice, 0.8)
    flow = w * q
    assert (flow - flow.T).abs().max() > 1e-4


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 4), (4, 2)])
def test_one_sweep_draws_from_a_column_of_the_matrix(rule, dtype, shape, rng):
    lattice = glass(*shape, rng, dtype)
    kernel = Checkerboard(lattice, rule)
    _, states = gibbs(lattice, 1.0)
    lattice.to(dtype)
    for start, beta in ((37, 0.3), (200, 0.9)):
        x = states[start].to(dtype).expand(100_000, -1).contiguous()
        y = kernel.sweep(x, beta, rng=rng)
        assert y.dtype == dtype
        assert torch.equal(x, states[start].to(dtype).expand(100_000, -1))
        require_same_distribution(y, kernel.transition_matrix(beta)[:, start])


@pytest.mark.parametrize("rule", RULES)
def test_every_chain_has_its_own_temperature(rule, rng):
    lattice = glass(2, 4, rng)
    kernel = Checkerboard(lattice, rule)
    x = enumerate_states(90, 91, 8, "spin").expand(200_000, -1).contiguous()
    betas = torch.tensor([0.1, 1.0], dtype=torch.float64).repeat(100_000)
    y = kernel.sweep(x, betas, rng=rng)
    for k, beta in enumerate((0.1, 1.0)):
        require_same_distribution(y[k::2], kernel.transition_matrix(beta)[:, 90])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energies_of_a_long_run_agree_with_enumeration(rule, dtype, rng):
    lattice = glass(4, 4, rng, scale=0.6)
    q, states = gibbs(lattice, 1.0)
    energies = lattice.energy(states).detach()
    truth, spread = q @ energies, (q @ energies**2 - (q @ energies) ** 2).sqrt()
    kernel = Checkerboard(lattice.to(dtype), rule)
    n_chains = 20_000
    x = kernel.initial(n_chains, rng=rng)
    x = kernel.anneal(x, torch.linspace(0.1, 1.0, 60, dtype=torch.float64), rng=rng)
    x = kernel.anneal(x, torch.ones(60, dtype=torch.float64), rng=rng)
    z = (kernel.energy(x).double().mean() - truth) / spread * n_chains**0.5
    assert z.abs() < 6  # false alarm 2e-9


def test_kaufmans_energy_is_the_one_of_enumeration():
    for K in (0.3, 0.6):  # on both sides of the critical point
        lattice = IsingLattice(*torch.full((2, 4, 4), K, dtype=torch.float64))
        q, states = gibbs(lattice, 1.0)
        truth = float(q @ lattice.energy(states).detach()) / K
        assert kaufman_energy(4, K) == pytest.approx(truth, rel=1e-8)


def test_ferromagnet_of_16_by_16_has_kaufmans_energy(rng):
    lattice = IsingLattice(*torch.ones(2, 16, 16))
    kernel = Checkerboard(lattice)
    x = kernel.initial(400, rng=rng)
    x = kernel.anneal(x, torch.full((500,), 0.35, dtype=torch.float64), rng=rng)
    energy = kernel.energy(x).double()
    z = (energy.mean() - kaufman_energy(16, 0.35)) / (energy.std() / 20)
    assert z.abs() < 6  # Student's t of 399 degrees: false alarm 5e-9


def test_annealing_is_the_sweeps_one_after_the_other(rng):
    lattice = glass(4, 6, rng)
    kernel = Checkerboard(lattice)
    betas = torch.linspace(0.2, 1.5, 5, dtype=torch.float64)
    x = enumerate_states(12345, 12346, 24, "spin").expand(50_000, -1).contiguous()
    together = kernel.energy(kernel.anneal(x, betas, rng=rng))
    alone = x
    for beta in betas:
        alone = kernel.sweep(alone, float(beta), rng=rng)
    alone = kernel.energy(alone)
    z = (together.mean() - alone.mean()) / ((together.var() + alone.var()) / 50_000).sqrt()
    assert z.abs() < 6


@pytest.mark.parametrize("rule", RULES)
def test_strong_bonds_in_float32_stay_finite(rule, rng):
    lattice = IsingLattice(*(40 * torch.randn(3, 4, 6, generator=rng)))
    kernel = Checkerboard(lattice, rule)
    x = kernel.initial(50, rng=rng)
    before = kernel.energy(x).mean()
    x = kernel.anneal(x, torch.full((30,), 3.0), rng=rng)
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    assert kernel.energy(x).mean() < before - 100


def test_path_initial_states_and_work(rng):
    lattice = glass(4, 4, rng)
    kernel = Checkerboard(lattice)
    assert kernel.n_units == 16
    assert kernel.initial_log_partition() == pytest.approx(16 * math.log(2))
    x = kernel.initial(10_000, rng=rng)
    assert (x.mean(0).abs() < 0.06).all()  # six standard errors; false alarm 16 * 2e-9
    energy = lattice.energy(x).detach()
    torch.testing.assert_close(kernel.energy(x), energy)
    torch.testing.assert_close(kernel.work(x, 0.2, 0.5), 0.3 * energy)
    betas = torch.rand(10_000, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(kernel.work(x, betas, 1.0), (1 - betas) * energy)


def test_the_same_generator_gives_the_same_chains(rng):
    kernel = Checkerboard(glass(4, 4, rng))
    x = kernel.initial(7, rng=rng)
    runs = [kernel.sweep(x, 0.5, rng=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*runs)


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    square = torch.ones(4, 4)
    with pytest.raises(ValueError, match="even sides"):
        Checkerboard(IsingLattice(torch.ones(4, 3), torch.ones(4, 3)))
    with pytest.raises(TypeError, match="Metropolis or HeatBath"):
        Checkerboard(BoltzmannMachine(torch.zeros(2, 2), torch.zeros(2)))
    with pytest.raises(ValueError, match="rule must be"):
        Checkerboard(IsingLattice(square, square), "gibbs")
    with pytest.raises(TypeError, match="float32 or float64"):
        Checkerboard(IsingLattice(square.half(), square.half()))
    kernel = Checkerboard(IsingLattice(square, square))
    with pytest.raises(ValueError, match="at most 12"):
        kernel.transition_matrix()
    with pytest.raises(ValueError, match="x must have shape"):
        kernel.sweep(torch.ones(3, 5), rng=rng)
    with pytest.raises(ValueError, match="none of them negative"):
        kernel.sweep(torch.ones(3, 16), -0.5, rng=rng)
    with pytest.raises(ValueError, match="one for each chain"):
        kernel.sweep(torch.ones(3, 16), torch.ones(2), rng=rng)
    with pytest.raises(TypeError, match="one dtype"):
        kernel.sweep(torch.ones(3, 16, dtype=torch.float64), rng=rng)
    with pytest.raises(ValueError, match="2 \\* x - 1"):
        kernel.anneal(torch.zeros(3, 16), torch.ones(2), rng=rng)
    with pytest.raises(ValueError, match="must not be negative"):
        kernel.anneal(torch.ones(3, 16), -torch.ones(2), rng=rng)
    with pytest.raises(ValueError, match="n_chains must be at least 1"):
        kernel.initial(0, rng=rng)


def test_edwards_anderson_glass_with_gaussian_bonds_cools(rng):
    lattice = edwards_anderson(8, 10, distribution="gaussian", rng=rng)
    kernel = Checkerboard(lattice, "heat_bath")
    x = kernel.initial(30, rng=rng)
    x = kernel.anneal(x, torch.linspace(0, 4, 200), rng=rng)
    assert kernel.energy(x).mean() / 80 < -1.1
