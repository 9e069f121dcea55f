"""Chapter 7: what the ratios of neighbouring states know."""

import itertools
import math

import pytest
import torch

STATES = list(itertools.product((-1, 1), repeat=4))


@pytest.fixture
def energy(rng):
    """Any energy will do: a table."""
    return dict(zip(STATES, torch.randn(len(STATES), generator=rng).double().tolist(), strict=True))


def distribution(energy):
    weights = {x: math.exp(-E) for x, E in energy.items()}
    total = sum(weights.values())
    return {x: weight / total for x, weight in weights.items()}


@pytest.mark.equation("7.1")
def test_the_partition_function_cancels_in_a_ratio(energy):
    q = distribution(energy)
    for x, y in itertools.permutations(STATES, 2):
        assert q[y] / q[x] == pytest.approx(math.exp(energy[x] - energy[y]), rel=1e-12)


@pytest.mark.equation("7.2")
def test_ratios_along_a_path_of_flips_give_the_distribution(energy):
    weights = {}
    for x in STATES:
        here, weight = STATES[0], 1.0
        for k in range(len(here)):  # a path of flips from the first state to x
            there = (*here[:k], x[k], *here[k + 1 :])
            weight *= math.exp(energy[here] - energy[there])
            here = there
        weights[x] = weight
    total = sum(weights.values())
    for x, probability in distribution(energy).items():
        assert weights[x] / total == pytest.approx(probability, rel=1e-12)
