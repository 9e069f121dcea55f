"""Any energy at all: evaluated at every state, a block of states at a time."""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from lecture_pkg._states import enumerate_states
from lecture_pkg.exact._limits import (
    SECONDS_PER_EXP,
    in_bounded_memory,
    refuse_unless_it_fits,
    refuse_unless_quick,
)
from lecture_pkg.exact.energy_model import EnergyModel, negative_energy, reference

_BLOCK_STATES = 2**15


def log_partition(model: EnergyModel, time_limit: float) -> Tensor:
    """Sum the exponentials block by block; differentiable."""
    _refuse_unless_quickly_enumerated(model, time_limit)
    return _sum(model)


@torch.no_grad()
def moments(model: EnergyModel, time_limit: float) -> tuple[Tensor, Tensor]:
    """Compute ⟨x⟩ and ⟨x xᵀ⟩ in two passes, the first for log Z."""
    _refuse_unless_quickly_enumerated(model, time_limit, passes=2)
    log_z = _sum(model)
    mean = log_z.new_zeros(model.n_units)
    correlation = log_z.new_zeros(model.n_units, model.n_units)
    for x in _states_in_blocks(model):
        q = (negative_energy(model, x) - log_z).exp()  # (block,)
        mean += q @ x
        correlation += (q * x.T) @ x
    return mean, correlation


def probabilities(model: EnergyModel, time_limit: float) -> Tensor:
    """Compute the probability of every state; differentiable."""
    refuse_unless_it_fits(model.n_units, model.n_units + math.log2(4 * 8))
    _refuse_unless_quickly_enumerated(model, time_limit)
    return torch.cat([negative_energy(model, x) for x in _states_in_blocks(model)]).softmax(0)


def _sum(model: EnergyModel) -> Tensor:
    def sum_block(x: Tensor) -> Tensor:
        return negative_energy(model, x).logsumexp(0)

    sums = [in_bounded_memory(sum_block, x) for x in _states_in_blocks(model)]
    return torch.stack(sums).logsumexp(0)


def _states_in_blocks(model: EnergyModel) -> Iterator[Tensor]:
    n, device = model.n_units, reference(model).device
    for start in range(0, 2**n, _BLOCK_STATES):
        yield enumerate_states(start, min(start + _BLOCK_STATES, 2**n), n, model.units).to(device)


def _refuse_unless_quickly_enumerated(
    model: EnergyModel, time_limit: float, passes: int = 1
) -> None:
    """Estimate from one block of states; a small model is not worth the trial."""
    n = model.n_units
    log2_blocks = n - math.log2(_BLOCK_STATES)
    if log2_blocks <= 3:
        return
    seconds = _BLOCK_STATES * SECONDS_PER_EXP
    if n < 63:  # beyond that int64 cannot number the states, and no trial is needed
        start = time.perf_counter()
        with torch.no_grad():
            negative_energy(model, next(_states_in_blocks(model)))
        seconds = time.perf_counter() - start
    refuse_unless_quick(n, log2_blocks + math.log2(passes * seconds), time_limit)
