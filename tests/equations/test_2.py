"""Section 2: the Gibbs-Boltzmann form and its partition function."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from lecture_pkg.exact import log_likelihood, log_partition, probabilities, states
from lecture_pkg.models.boltzmann import BoltzmannMachine

VALUES = {"spin": (-1, 1), "binary": (0, 1)}


def couplings_and_fields(n: int, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    J = strength * torch.randn(n, n, generator=generator, dtype=torch.float64).triu(1)
    return J + J.T, strength * torch.randn(n, generator=generator, dtype=torch.float64)


def energies_by_loops(J: torch.Tensor, h: torch.Tensor, units: str) -> list[float]:
    """Energies of all states, the first unit changing slowest."""
    n, J, h = len(h), J.tolist(), h.tolist()
    return [
        -math.fsum(J[k][m] * x[k] * x[m] for k in range(n) for m in range(k + 1, n))
        - math.fsum(h[k] * x[k] for k in range(n))
        for x in product(VALUES[units], repeat=n)
    ]


class Quartic:
    """An energy that is no quadratic form, so that states are enumerated one by one."""

    units = "spin"
    n_units = 5

    def energy(self, x: torch.Tensor) -> torch.Tensor:
        field = x @ torch.tensor([0.3, -1.1, 0.7, 0.2, -0.5], dtype=x.dtype)
        return 0.5 * field**4 - x[..., 0] * x[..., 2] * x[..., 4] + field


@pytest.mark.equation("2.1")
@pytest.mark.parametrize("units", ["spin", "binary"])
@pytest.mark.parametrize("strength", [0.1, 1.0, 4.0])
def test_probabilities_are_normalised_boltzmann_factors(units: str, strength: float) -> None:
    J, h = couplings_and_fields(5, strength)
    factors = [math.exp(-e) for e in energies_by_loops(J, h, units)]
    q = probabilities(BoltzmannMachine(J, h, units)).detach()
    torch.testing.assert_close(q, torch.tensor(factors).double() / math.fsum(factors))
    assert float(q.min()) > 0
    assert float(q.sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.equation("2.1")
def test_any_energy_gives_a_distribution_and_shifts_do_not_matter() -> None:
    model, shifted = Quartic(), Quartic()
    shifted.energy = lambda x: model.energy(x) + 12.5
    x = states(5, "spin")
    factors = np.exp(-np.array([float(model.energy(row)) for row in x]))
    np.testing.assert_allclose(probabilities(model), factors / factors.sum(), rtol=1e-12)
    np.testing.assert_allclose(probabilities(shifted), factors / factors.sum(), rtol=1e-10)
    log_q = float(log_likelihood(model, x[[3, 3, 30]]))
    expected = np.log(factors / factors.sum())[[3, 3, 30]].mean()
    assert log_q == pytest.approx(expected, rel=1e-12)


@pytest.mark.equation("2.1")
def test_every_positive_distribution_has_this_form() -> None:
    p = np.random.default_rng(4).dirichlet(np.ones(16))

    class FromProbabilities:
        units = "binary"
        n_units = 4

        def energy(self, x: torch.Tensor) -> torch.Tensor:
            row = (x @ torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=x.dtype)).long()
            return -torch.from_numpy(p).log()[row]

    np.testing.assert_allclose(probabilities(FromProbabilities()), p, rtol=1e-12)
    assert float(log_partition(FromProbabilities())) == pytest.approx(0, abs=1e-12)


@pytest.mark.equation("2.2")
@pytest.mark.parametrize("units", ["spin", "binary"])
@pytest.mark.parametrize("n", [1, 2, 4, 9])
def test_partition_function_is_the_sum_over_all_states(units: str, n: int) -> None:
    J, h = couplings_and_fields(n, 1.0)
    Z = math.fsum(math.exp(-e) for e in energies_by_loops(J, h, units))
    log_Z = log_partition(BoltzmannMachine(J, h, units)).item()
    assert log_Z == pytest.approx(math.log(Z), abs=1e-12)


@pytest.mark.equation("2.2")
def test_partition_function_of_a_ring_from_the_eigenvalues_of_its_transfer_matrix() -> None:
    n, J, h = 25, -0.7, 0.3
    k = torch.arange(n)
    couplings = torch.zeros(n, n, dtype=torch.float64)
    couplings[k, (k + 1) % n] = couplings[(k + 1) % n, k] = J
    model = BoltzmannMachine(couplings, torch.full((n,), h, dtype=torch.float64))
    transfer = [[math.exp(J * a * b + h * (a + b) / 2) for b in (-1, 1)] for a in (-1, 1)]
    Z = (np.linalg.eigvalsh(transfer) ** n).sum()
    assert log_partition(model).item() == pytest.approx(math.log(Z), rel=1e-12)


@pytest.mark.equation("2.2")
def test_partition_function_of_independent_spins_is_a_product() -> None:
    h = torch.linspace(-2, 3, 21, dtype=torch.float64)
    model = BoltzmannMachine(torch.zeros(21, 21, dtype=torch.float64), h)
    product_of_sums = math.fsum(math.log(2 * math.cosh(v)) for v in h.tolist())
    assert log_partition(model).item() == pytest.approx(product_of_sums, rel=1e-12)


@pytest.mark.equation("2.2")
def test_derivatives_in_the_inverse_temperature_are_mean_and_variance_of_the_energy() -> None:
    J, h = couplings_and_fields(6, 0.8)
    E = np.array(energies_by_loops(J, h, "spin"))
    q = np.exp(-0.9 * E) / np.exp(-0.9 * E).sum()

    def log_Z(beta: float) -> float:
        return log_partition(BoltzmannMachine(beta * J, beta * h)).item()

    step = 1e-4
    first = (log_Z(0.9 + step) - log_Z(0.9 - step)) / (2 * step)
    second = (log_Z(0.9 + step) - 2 * log_Z(0.9) + log_Z(0.9 - step)) / step**2
    assert first == pytest.approx(-(q @ E), abs=1e-6)
    assert second == pytest.approx(q @ E**2 - (q @ E) ** 2, abs=1e-4)
