import pytest
import torch

from lecture_pkg import exact
from lecture_pkg._states import enumerate_states
from lecture_pkg.models import BoltzmannMachine
from lecture_pkg.models.lattice import IsingLattice, edwards_anderson


def glass(rows, columns, rng, *, fields=True):
    right, down, h = torch.randn(3, rows, columns, generator=rng, dtype=torch.float64)
    return IsingLattice(right, down, h if fields else None)


def energy_by_hand(lattice, x):
    rows, columns = lattice.shape
    picture = x.reshape(rows, columns).tolist()
    right, down, h = (p.tolist() for p in (lattice.right, lattice.down, lattice.h))
    total = 0.0
    for i in range(rows):
        for j in range(columns):
            total -= right[i][j] * picture[i][j] * picture[i][(j + 1) % columns]
            total -= down[i][j] * picture[i][j] * picture[(i + 1) % rows][j]
            total -= h[i][j] * picture[i][j]
    return total


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (3, 4)])
def test_energy_is_the_sum_over_bonds_and_fields(shape, rng):
    lattice = glass(*shape, rng)
    x = enumerate_states(0, 64, lattice.n_units, "spin")
    by_hand = torch.tensor([energy_by_hand(lattice, row) for row in x], dtype=torch.float64)
    torch.testing.assert_close(lattice.energy(x), by_hand, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (3, 3)])
def test_the_boltzmann_machine_has_the_same_energy(shape, rng):
    lattice = glass(*shape, rng)
    machine = lattice.to_boltzmann_machine()
    assert isinstance(machine, BoltzmannMachine)
    x = enumerate_states(0, 2**lattice.n_units, lattice.n_units, "spin")
    torch.testing.assert_close(lattice.energy(x), machine.energy(x), rtol=0, atol=1e-12)


def test_two_bonds_of_a_side_of_two_add_up():
    right = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    machine = IsingLattice(right, torch.zeros(2, 2)).to_boltzmann_machine()
    assert machine.J[0, 1] == 3


def test_energy_takes_any_batch_and_the_parameters_learn(rng):
    lattice = glass(3, 4, rng)
    x = 2 * torch.randint(2, (5, 2, 12), generator=rng) - 1
    assert lattice.energy(x).shape == (5, 2)
    lattice.energy(x[0, 0]).backward()
    picture = x[0, 0].reshape(3, 4).double()
    expected = -picture * torch.stack([picture[:, (j + 1) % 4] for j in range(4)], 1)
    torch.testing.assert_close(lattice.right.grad, expected)
    assert len(list(lattice.parameters())) == 3


def test_log_partition_of_a_small_ferromagnet_by_transfer_matrices():
    K, rows, columns = 0.37, 3, 4
    bonds = torch.full((rows, columns), K, dtype=torch.float64)
    row = enumerate_states(0, 2**columns, columns, "spin")
    inside = K * (row * row.roll(-1, 1)).sum(1)
    transfer = (K * row @ row.T + (inside[:, None] + inside) / 2).exp()
    truth = torch.linalg.matrix_power(transfer, rows).trace().log()
    torch.testing.assert_close(exact.log_partition(IsingLattice(bonds, bonds)).detach(), truth)


def test_edwards_anderson_draws_independent_bonds(rng):
    lattice = edwards_anderson(60, 50, rng=rng)
    assert lattice.shape == (60, 50)
    bonds = torch.cat([lattice.right.detach().flatten(), lattice.down.detach().flatten()])
    assert set(bonds.tolist()) == {-1.0, 1.0}
    assert abs(float(bonds.mean())) < 6 / len(bonds) ** 0.5  # false alarm 2e-9
    gauss = edwards_anderson(60, distribution="gaussian", rng=rng, dtype=torch.float64)
    assert gauss.h.dtype == torch.float64
    assert abs(float(gauss.down.detach().var()) - 1) < 6 * (2 / 3600) ** 0.5
    again = [edwards_anderson(4, rng=torch.Generator().manual_seed(1)).down for _ in range(2)]
    assert torch.equal(*again)


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    square = torch.ones(3, 3)
    with pytest.raises(ValueError, match="sides of at least 2"):
        IsingLattice(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="down must have shape"):
        IsingLattice(square, torch.ones(3, 4))
    with pytest.raises(ValueError, match="h must be finite"):
        IsingLattice(square, square, square / 0)
    with pytest.raises(TypeError, match="floating"):
        IsingLattice(square.long(), square)
    with pytest.raises(TypeError, match="one dtype"):
        IsingLattice(square, square.double())
    with pytest.raises(ValueError, match="distribution must be"):
        edwards_anderson(4, distribution="uniform", rng=rng)
    with pytest.raises(ValueError, match="rows must be at least 2"):
        edwards_anderson(1, rng=rng)
    with pytest.raises(ValueError, match="2 \\* x - 1"):
        IsingLattice(square, square).energy(torch.zeros(9))
    with pytest.raises(ValueError, match="x must have shape"):
        IsingLattice(square, square).energy(torch.ones(3, 3))
