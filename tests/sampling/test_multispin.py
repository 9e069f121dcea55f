import math

import numpy as np
import pytest
import torch

from lecture_pkg._states import enumerate_states
from lecture_pkg.models.lattice import IsingLattice, edwards_anderson
from lecture_pkg.sampling._bytes import ByteLattice
from lecture_pkg.sampling._packed import PackedLattice
from lecture_pkg.sampling.multispin import MultiSpin

F64 = np.dtype(np.float64)


def spins(n, n_units, rng, dtype=torch.float64):
    return (2 * torch.randint(2, (n, n_units), generator=rng) - 1).to(dtype)


def gibbs(lattice, beta):
    x = enumerate_states(0, 2**lattice.n_units, lattice.n_units, "spin")
    return (-beta * lattice.energy(x).detach()).softmax(0), x


def require_same_distribution(x, probabilities):
    """Pearson's statistic; its normal form (Wilson-Hilferty) exceeds 6 with probability 1e-9."""
    powers = 2 ** torch.arange(x.shape[-1] - 1, -1, -1)
    index = ((x > 0).long() * powers).sum(-1)
    counts = torch.bincount(index, minlength=len(probabilities)).double()
    expected = len(x) * probabilities
    assert counts[probabilities == 0].sum() == 0
    enough = expected >= 20
    chi2 = ((counts - expected) ** 2 / expected)[enough].sum()
    degrees = int(enough.sum())
    assert degrees > 5
    z = ((chi2 / degrees) ** (1 / 3) - 1 + 2 / (9 * degrees)) / math.sqrt(2 / (9 * degrees))
    assert z < 6


def most_open_column(w):
    """The start from which a sweep can go to most states; some sweeps are nearly certain."""
    return int((w > 1e-3).sum(0).argmax())


@pytest.mark.parametrize("engine", [PackedLattice, ByteLattice])
@pytest.mark.parametrize(("groups", "lanes"), [(1, 1), (1, 8), (3, 5), (2, 31), (1, 64), (3, 130)])
def test_packing_is_undone_and_energies_are_those_of_the_lattice(engine, groups, lanes, rng):
    lattice = edwards_anderson(4, 6, rng=rng, dtype=torch.float64)
    lattice = IsingLattice(0.7 * lattice.right.detach(), 0.7 * lattice.down.detach())
    packed = engine(lattice, lanes, groups)
    x = spins(groups * lanes, 24, rng).reshape(groups, lanes, 24)
    words = packed.pack(x.numpy())
    assert (packed.unpack(words, F64) == x.numpy()).all()
    energies = packed.magnitude * packed.energies(words)
    np.testing.assert_allclose(energies, lattice.energy(x).detach(), atol=1e-12)


def test_energies_count_more_sites_than_a_byte_holds(rng):
    lattice = edwards_anderson(34, 38, rng=rng)
    x = spins(70, 34 * 38, rng, torch.float32)
    packed = PackedLattice(lattice, 70)
    energies = packed.energies(packed.pack(x.numpy()[None]))
    assert (energies == lattice.energy(x).detach().numpy()).all()
    ground = torch.ones(1, 34 * 38)
    ferromagnet = IsingLattice(*torch.ones(2, 34, 38))
    packed = PackedLattice(ferromagnet, 1)
    assert packed.energies(packed.pack(ground.numpy()[None])) == -2 * 34 * 38


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.7])
@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4, 2)])
def test_matrix_is_stochastic_and_leaves_the_path_invariant(beta, shape, rng):
    lattice = edwards_anderson(*shape, rng=rng, dtype=torch.float64)
    w = MultiSpin(lattice).transition_matrix(beta)
    q, _ = gibbs(lattice, beta)
    ones = torch.ones(len(w), dtype=torch.float64)
    torch.testing.assert_close(w.sum(0), ones, rtol=0, atol=1e-12)
    torch.testing.assert_close(w @ q, q, rtol=0, atol=1e-12)


def test_thresholds_are_the_metropolis_probabilities():
    betas = np.array([[0.0, 1e-3, 0.2], [0.9, 2.5, 7.0]])
    thresholds = PackedLattice(IsingLattice(*torch.ones(2, 4, 4)), 3, 2).thresholds(betas)
    bits = np.unpackbits(thresholds.digits.view(np.uint8)[..., None], axis=-1, bitorder="little")
    weights = 0.5 ** np.arange(1, len(bits) + 1)
    p = np.tensordot(weights, bits.astype(float), axes=1).reshape(2, -1)
    p += thresholds.rest * weights[-1]
    lanes = [0, 1, 2, 8, 9, 10]  # two words of a byte
    expected = np.exp([[-4.0], [-8.0]] * betas.reshape(1, -1))
    np.testing.assert_allclose(p[:, lanes], expected, rtol=1e-14)


def test_scalar_and_lane_thresholds_agree():
    packed = PackedLattice(IsingLattice(*torch.ones(2, 4, 4)), 64)
    one, each = packed.thresholds(np.float64(0.6)), packed.thresholds(np.full((1, 64), 0.6))
    assert (one.digits == each.digits).all()
    assert (one.rest == each.rest).all()


@pytest.mark.parametrize("p", [(0.3, 0.09), (2.0**-9, 2.0**-18), (0.0004, 1.6e-7)])
def test_random_words_fall_below_a_threshold_as_often_as_they_should(p):
    packed = PackedLattice(IsingLattice(*torch.ones(2, 4, 512)), 64)
    thresholds = packed.thresholds(np.float64(-math.log(p[0]) / 4))
    rng = np.random.Generator(np.random.SFC64(5))
    shape = (1, packed.half)
    everywhere, nowhere = np.full(shape, packed.ones), np.zeros(shape, np.uint64)
    n = 64 * packed.half * 40
    for k, (three, four) in enumerate(((everywhere, nowhere), (nowhere, everywhere))):
        below = sum(
            int(
                np.bitwise_count(
                    packed._below_threshold(three, four, everywhere, thresholds, rng)
                ).sum()
            )
            for _ in range(40)
        )
        # The bound of Bernstein at probability 1e-8.
        allowed = math.sqrt(2 * n * p[k] * 19.2) + 19.2
        assert abs(below - n * p[k]) < allowed


def test_lanes_still_equal_after_all_digits_are_decided_by_the_rest():
    packed = PackedLattice(IsingLattice(*torch.ones(2, 8, 64)), 64)
    words = np.full(1000, packed.ones)
    rest = np.zeros((2, 64))
    rest[0, 5], rest[1, 7] = 0.25, 1.0
    four = np.full(1000, 1 << 7, np.uint64)
    rng = np.random.default_rng(0)
    below = packed._compare_rest(four, words, np.zeros(1000, int), rest, rng)
    bits = np.unpackbits(below.view(np.uint8).reshape(1000, 8), axis=1, bitorder="little").sum(0)
    assert bits[7] == 1000
    assert abs(int(bits[5]) - 250) < 6 * math.sqrt(1000 * 0.25 * 0.75)  # false alarm 2e-9
    assert bits.sum() == bits[5] + bits[7]


@pytest.mark.parametrize("magnitude", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(2, 4), (4, 2)])
def test_one_sweep_draws_from_a_column_of_the_matrix(shape, magnitude, rng):
    glass = edwards_anderson(*shape, rng=rng, dtype=torch.float64)
    lattice = IsingLattice(magnitude * glass.right.detach(), magnitude * glass.down.detach())
    kernel = MultiSpin(lattice)
    for beta in (0.3, 0.8):
        w = kernel.transition_matrix(beta)
        start = most_open_column(w)
        x = enumerate_states(start, start + 1, 8, "spin").expand(100_000, -1).contiguous()
        require_same_distribution(kernel.sweep(x, beta, rng=rng), w[:, start])


def test_every_chain_has_its_own_temperature(rng):
    kernel = MultiSpin(edwards_anderson(2, 4, rng=rng, dtype=torch.float64))
    start = most_open_column(kernel.transition_matrix(0.3))
    x = enumerate_states(start, start + 1, 8, "spin").expand(200_000, -1).contiguous()
    betas = torch.tensor([0.1, 0.6], dtype=torch.float64).repeat(100_000)
    y = kernel.sweep(x, betas, rng=rng)
    for k, beta in enumerate((0.1, 0.6)):
        require_same_distribution(y[k::2], kernel.transition_matrix(beta)[:, start])


def test_one_sweep_of_bytes_draws_from_a_column_of_the_matrix(rng):
    lattice = edwards_anderson(2, 4, rng=rng, dtype=torch.float64)
    for beta in (0.3, 0.8):
        w = MultiSpin(lattice).transition_matrix(beta)
        start = most_open_column(w)
        x = enumerate_states(start, start + 1, 8, "spin").expand(100_000, -1)
        engine = ByteLattice(lattice, 50_000, 2)
        words = engine.pack(x.reshape(2, 50_000, 8).numpy())
        thresholds = engine.thresholds(np.full((2, 50_000), beta))
        engine.sweep(words, thresholds, np.random.Generator(np.random.SFC64(start)))
        y = torch.from_numpy(engine.unpack(words, F64)).reshape(-1, 8)
        require_same_distribution(y, w[:, start])


def test_replicas_are_independent(rng):
    """From one start, the flips of different lanes must not know of each other.

    A random number shared by the lanes of a word would make every pair of lanes equal.
    """
    lattice = edwards_anderson(32, 32, rng=rng)
    x = spins(1, 32 * 32, rng, torch.float32).expand(64, -1).contiguous()
    kernel = MultiSpin(lattice)
    products = torch.zeros(64, 64, dtype=torch.float64)
    variance = 0.0
    repeats, beta = 200, 0.15
    for _ in range(repeats):
        y = kernel.sweep(x, beta, rng=rng).reshape(64, 32, 32)
        # The first colour alone: given the start, these spins are independent of each other.
        first = (torch.arange(32)[:, None] + torch.arange(32)) % 2 == 0
        flips = (y != x.reshape(64, 32, 32))[:, first].double()
        start = x[0].reshape(32, 32)
        alignment = (start * local_field(lattice, start))[first].double()
        p = (-2 * beta * alignment).clamp(max=0).exp()
        centred = flips - p
        products += centred @ centred.T
        variance += float(((p * (1 - p)) ** 2).sum())
    z = products / math.sqrt(variance)
    pairs = z[*torch.triu_indices(64, 64, 1)]
    assert pairs.abs().max() < 7  # 2016 pairs: false alarm 5e-9
    assert abs(float(pairs.square().mean()) - 1) < 6 * math.sqrt(2 / 2016)


def local_field(lattice, picture):
    right, down = lattice.right.detach(), lattice.down.detach()
    return (
        right * picture.roll(-1, 1)
        + (right * picture).roll(1, 1)
        + down * picture.roll(-1, 0)
        + (down * picture).roll(1, 0)
    )


def test_energies_of_a_long_run_agree_with_enumeration(rng):
    lattice = edwards_anderson(4, 4, rng=rng, dtype=torch.float64)
    beta, n_chains = 0.6, 30_000
    q, states = gibbs(lattice, beta)
    energies = lattice.energy(states).detach()
    truth, spread = q @ energies, (q @ energies**2 - (q @ energies) ** 2).sqrt()
    kernel = MultiSpin(lattice)
    x = kernel.initial(n_chains, rng=rng)
    x = kernel.anneal(x, torch.linspace(0.05, beta, 50, dtype=torch.float64), rng=rng)
    x = kernel.anneal(x, torch.full((50,), beta, dtype=torch.float64), rng=rng)
    z = (kernel.energy(x).mean() - truth) / spread * n_chains**0.5
    assert z.abs() < 6  # false alarm 2e-9


def test_dtype_is_kept_and_runs_repeat(rng):
    kernel = MultiSpin(edwards_anderson(4, 4, rng=rng))
    x = kernel.initial(3, rng=rng)
    runs = [
        kernel.anneal(x, torch.tensor([0.5, 1.0]), rng=torch.Generator().manual_seed(3))
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert runs[0].dtype == torch.float32
    assert runs[0].shape == (3, 16)


@pytest.mark.bad_input
def test_bad_input_is_refused():
    square = torch.ones(4, 4)
    with pytest.raises(ValueError, match="use Checkerboard"):
        MultiSpin(IsingLattice(square, 2 * square))
    with pytest.raises(ValueError, match="one J > 0"):
        MultiSpin(IsingLattice(0 * square, 0 * square))
    with pytest.raises(ValueError, match="h is not zero"):
        MultiSpin(IsingLattice(square, square, square))
    with pytest.raises(ValueError, match="even sides"):
        MultiSpin(IsingLattice(torch.ones(3, 4), torch.ones(3, 4)))
    with pytest.raises(TypeError, match="IsingLattice"):
        MultiSpin(torch.ones(4, 4))
