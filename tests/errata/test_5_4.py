"""Slides, simulated annealing: what a small β makes small."""

import math

import numpy as np
import pytest

ENERGIES = np.array([0.0, 2.0, 0.7, 3.0, 1.1])  # a pass of height 3 between two valleys


@pytest.mark.erratum("slide-sa-energy")
def test_heat_shrinks_the_product_and_raises_the_energy() -> None:
    hot, cold = 0.05, 4.0
    p_hot, p_cold = (np.exp(-b * ENERGIES) / np.exp(-b * ENERGIES).sum() for b in (hot, cold))
    # Printed: with small β the energy E becomes small. The energies visited are higher.
    assert p_hot @ ENERGIES > 1.3 > 0.1 > p_cold @ ENERGIES
    # Printed: the barrier becomes lower. What becomes small is β times the barrier.
    barrier = ENERGIES[3] - ENERGIES[2]
    for beta in (hot, cold):
        weights = np.exp(-beta * ENERGIES)
        assert math.isclose(-math.log(weights[3] / weights[2]) / beta, barrier)
    assert math.exp(-hot * barrier) > 0.89
    assert math.exp(-cold * barrier) < 1e-3
