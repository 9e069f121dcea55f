"""Slides, simulated tempering: which is the free energy, and how near is near."""

import math

import numpy as np
import pytest

ENERGIES = np.array([-2.0, -0.5, 0.0, 0.3, 1.7])


@pytest.mark.erratum("slide-st-free-energy")
@pytest.mark.parametrize("beta", [0.4, 2.5])
def test_minus_log_z_is_beta_times_the_free_energy(beta: float) -> None:
    p = np.exp(-beta * ENERGIES)
    log_z = math.log(p.sum())
    p /= p.sum()
    entropy, energy = float(-(p * np.log(p)).sum()), float(p @ ENERGIES)
    helmholtz = energy - entropy / beta  # F = U - T S
    assert abs(-log_z - helmholtz) > 0.5  # printed: the free energy is -log Z
    assert math.isclose(-log_z / beta, helmholtz)


@pytest.mark.erratum("slide-st-step")
@pytest.mark.parametrize("n", [1, 400, 40_000])
def test_the_step_of_beta_is_small_or_not_beside_the_fluctuation(n: int) -> None:
    # n independent units in a field of one: E is binomial, ln Z = n ln 2cosh β.
    k = np.arange(n + 1)
    energy = n - 2.0 * k
    log_count = np.array(
        [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k]
    )

    def log_z(beta: float) -> float:
        return n * math.log(2 * math.cosh(beta))

    def acceptance(beta: float, step: float) -> float:
        p = np.exp(log_count - beta * energy - log_z(beta))
        log_ratio = -step * energy - log_z(beta + step) + log_z(beta)
        return float(p @ np.exp(np.minimum(0, log_ratio)))

    beta = 0.5
    sigma = math.sqrt(n) / math.cosh(beta)  # standard deviation of the energy
    # Printed: |β - β'| << 1. One tenth is fine for one unit, hopeless for many.
    tenth = acceptance(beta, 0.1)
    assert (tenth > 0.9) if n == 1 else (tenth < 0.4)
    if n == 40_000:
        assert tenth < 1e-10
    # Right: the step beside 1 / σ. The rate is then the same, erfc(1/√8), for large n.
    scaled = acceptance(beta, 1 / sigma)
    assert scaled > 0.5
    if n > 1:
        assert abs(scaled - math.erfc(1 / math.sqrt(8))) < 0.03
