"""Truth by enumeration: log Z, probabilities and moments, up to about 40 units.

A model with n units has 2^n states. Visiting them one by one is hopeless beyond n = 25 or so, but
an energy that couples units only in pairs lets a matrix product do the visiting. Put the units in
three groups A, B, C: every term of -E then depends on two groups at most, so that

    -E = f(A, B) + g(B, C) + k(A, C),    Z = Σ_{A,C} e^{k(A,C)} Σ_B e^{f(A,B)} e^{g(B,C)}.

With F = e^f, G = e^g, H = e^k as matrices of side 2^(n/3), Z is the sum of all entries of
(F G) ∘ H: one matrix product, where all the time goes, and only 3 · 2^(2n/3) exponentials.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import psutil
import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lecture_pkg._checks import (
    require_count,
    require_energy_model,
    require_finite,
    require_positive,
    require_shape,
    require_tensor,
    require_unit_values,
    require_units,
)
from lecture_pkg._states import enumerate_states

_BLOCK_ENTRIES = 2**20  # of a table held in full: 8 MiB, which the allocator reuses
_BLOCK_STATES = 2**15
_LOG_SMALLEST = -700.0  # below e^-708 a product of exponentials underflows
_LOG_PRECISION = -37.0  # e^-37 is below the rounding of float64
_FLOPS_PER_THREAD = 2e10  # a modest core in float64: estimates err on the slow side
_SECONDS_PER_EXP = 1e-8
_LOG2_SECONDS = 32  # 136 years: no time_limit reaches further


@runtime_checkable
class EnergyModel(Protocol):
    """What can be enumerated: an energy of `n_units` units that take two values.

    A model that also has attributes `J` and `h` is taken to have a `BoltzmannMachine`'s energy, if
    its own energy agrees with that on a few states.
    """

    units: str

    @property
    def n_units(self) -> int:
        """How many units the model has."""

    def energy(self, x: Tensor) -> Tensor:
        """Return E(x) of shape (...) for x of shape (..., n_units)."""


@dataclass
class _Quadratic:
    """A Boltzmann machine's energy in float64, part of its model's graph."""

    J: Tensor
    h: Tensor
    units: str

    @property
    def n_units(self) -> int:
        return len(self.h)

    def energy(self, x: Tensor) -> Tensor:
        return -_quadratic(x, self.J, self.h)


class Moments(NamedTuple):
    """The averages ⟨x_k⟩ and ⟨x_k x_l⟩ under the model."""

    mean: Float[Tensor, " n"]
    correlation: Float[Tensor, "n n"]


def states(n: int, units: str) -> Float[Tensor, "states n"]:
    """List all 2^n states: row i is i in binary digits, unit 0 the most significant.

    Args:
        n: number of units.
        units: "binary" for the digits 0 and 1, "spin" for -1 in the place of 0.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n is below one, or the list does not fit in memory.
    """
    require_units(units)
    require_count(n, "n")
    _refuse_unless_it_fits(n, n + math.log2(4 * 8 * n))
    return enumerate_states(0, 2**n, n, units)


def log_partition(model: EnergyModel, *, time_limit: float = 600.0) -> Float[Tensor, ""]:
    """Compute log Z, differentiably in the model's parameters.

    Equations (2.2), (2.26), sections 2 and 2.5. Quadratic energies go through the three-way
    split, in float64 whatever the model's dtype; other energies are evaluated state by state.

    Args:
        model: see `EnergyModel`.
        time_limit: seconds; a request that is estimated to take longer is refused.

    Returns:
        log Z in nats, in the model's dtype.

    Raises:
        TypeError: if the model lacks `energy`, `units` or `n_units`.
        ValueError: if the time or the memory that the request would take is out of reach, found
            before it is spent; if a parameter is not finite; if time_limit is not positive.
    """
    admitted = _admit(model, time_limit)
    return _log_partition(admitted, time_limit).to(_reference(model).dtype)


def probabilities(model: EnergyModel, *, time_limit: float = 600.0) -> Float[Tensor, " states"]:
    """Compute q(x) of every state, in the order of `states`; differentiable.

    Equation (2.1), section 2. Arguments and errors are those of `log_partition`.
    """
    admitted = _admit(model, time_limit)
    _refuse_unless_it_fits(model.n_units, model.n_units + math.log2(4 * 8))
    _refuse_unless_quickly_enumerated(admitted, time_limit)
    log_weights = torch.cat([_negative_energy(admitted, x) for x in _states_in_blocks(admitted)])
    return log_weights.softmax(0).to(_reference(model).dtype)


def moments(model: EnergyModel, *, time_limit: float = 600.0) -> Moments:
    """Compute ⟨x_k⟩ and ⟨x_k x_l⟩, without gradients.

    Equations (2.28), (2.29), section 2.5: for quadratic energies they are the derivatives of
    log Z in h_k and J_kl; for other energies they are summed over the states. Arguments and
    errors are those of `log_partition`.
    """
    admitted = _admit(model, time_limit)
    if isinstance(admitted, _Quadratic):
        mean, correlation = _moments_by_derivative(admitted, time_limit)
    else:
        mean, correlation = _moments_by_enumeration(admitted, time_limit)
    dtype = _reference(model).dtype
    return Moments(mean.to(dtype), correlation.to(dtype))


def log_likelihood(
    model: EnergyModel, x: Real[Tensor, "batch n"], *, time_limit: float = 600.0
) -> Float[Tensor, ""]:
    """Compute the mean of log q(x) over samples, differentiably in the model's parameters.

    Equation (2.1), section 2. It is the part of -D_KL(p0‖q) that learning changes.

    Args:
        model: see `EnergyModel`.
        x: samples in the model's units.
        time_limit: as for `log_partition`.

    Returns:
        Nats per sample.

    Raises:
        ValueError: if x is empty or breaks the unit convention; as for `log_partition`.
    """
    admitted = _admit(model, time_limit)
    require_tensor(x, "x")
    require_shape(x, (None, model.n_units), "x")
    require_unit_values(x, model.units, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it is empty.")
    log_q = _negative_energy(admitted, x).mean() - _log_partition(admitted, time_limit)
    return log_q.to(_reference(model).dtype)


def _log_partition_by_split(J: Tensor, h: Tensor, units: str, time_limit: float) -> Tensor:
    """Sum (F G) ∘ H, a block of rows (states of A) at a time.

    Every table is shifted by its maxima, so that no exponential exceeds one. Those that
    underflow take at most e^-700 from each state, in units of the row's shift: where that could
    be seen in log Z, the row is summed again state by state.
    """
    n = len(h)
    a, b, c = n // 3, (n + 1) // 3, (n + 2) // 3
    A, B, C = slice(0, a), slice(a, a + b), slice(a + b, n)
    step = max(1, _BLOCK_ENTRIES // 2**c)  # rows in a block
    learning = torch.is_grad_enabled() and (J.requires_grad or h.requires_grad)
    n_bytes = 8 * (3 + 2 * learning) * (2 ** (b + c) + 3 * step * 2**c)
    _refuse_unless_it_fits(n, math.log2(n_bytes))
    flops_per_second = _FLOPS_PER_THREAD * torch.get_num_threads()
    log2_flops = n + 1 + 2 * learning
    _refuse_unless_quick(n, log2_flops - math.log2(flops_per_second), time_limit)
    blocks = range(0, 2**a, step)  # where they start

    x_a, x_b, x_c = (enumerate_states(0, 2**m, m, units).to(h.device) for m in (a, b, c))
    e_a, e_b, e_c = (_quadratic(x, J[S, S], h[S]) for x, S in ((x_a, A), (x_b, B), (x_c, C)))

    # The terms within B are shared between f and g, so that both prefer similar states of B.
    g = e_b[:, None] / 2 + e_c + x_b @ J[B, C] @ x_c.T  # (2^b, 2^c)
    g_max = g.detach().amax(0)  # (2^c,)
    G = (g - g_max).exp()

    def f_and_k(rows: slice) -> tuple[Tensor, Tensor]:
        f = e_a[rows, None] + e_b / 2 + x_a[rows] @ J[A, B] @ x_b.T  # (rows, 2^b)
        k = x_a[rows] @ J[A, C] @ x_c.T  # (rows, 2^c)
        return f, k

    def sum_rows(start: int) -> tuple[Tensor, Tensor]:
        f, k = f_and_k(slice(start, start + step))
        k = k + g_max
        f_max, k_max = f.detach().amax(1, keepdim=True), k.detach().amax(1, keepdim=True)
        F, H = (f - f_max).exp(), (k - k_max).exp()
        total = ((F @ G) * H).sum(1)  # (rows,)
        shift = (f_max + k_max)[:, 0]
        # A row that vanished must not send the gradient of its logarithm to infinity.
        return shift + total.clamp_min(math.exp(_LOG_SMALLEST)).log(), shift

    def sum_row_by_states(row: int) -> Tensor:
        f, k = f_and_k(slice(row, row + 1))
        return (f.T + g + k).flatten().logsumexp(0)

    sums = [_in_bounded_memory(sum_rows, start, alone=len(blocks) == 1) for start in blocks]
    log_rows, shifts = (torch.cat(parts) for parts in zip(*sums, strict=True))  # (2^a,)
    log_lost = shifts + n * math.log(2) + _LOG_SMALLEST  # as if every row lost as much
    doubtful = (log_lost > log_rows.logsumexp(0) + _LOG_PRECISION).nonzero()[:, 0]
    if len(doubtful) > 0:
        seconds = len(doubtful) * 2 ** (b + c) * _SECONDS_PER_EXP
        _refuse_unless_quick(n, math.log2(seconds), time_limit)
        safe = [_in_bounded_memory(sum_row_by_states, row) for row in doubtful.tolist()]
        log_rows = log_rows.index_copy(0, doubtful, torch.stack(safe))
    return log_rows.logsumexp(0)


def _log_partition_by_enumeration(model: EnergyModel) -> Tensor:
    def sum_block(x: Tensor) -> Tensor:
        return _negative_energy(model, x).logsumexp(0)

    sums = [_in_bounded_memory(sum_block, x) for x in _states_in_blocks(model)]
    return torch.stack(sums).logsumexp(0)


def _log_partition(model: EnergyModel, time_limit: float) -> Tensor:
    if isinstance(model, _Quadratic):
        return _log_partition_by_split(model.J, model.h, model.units, time_limit)
    _refuse_unless_quickly_enumerated(model, time_limit)
    return _log_partition_by_enumeration(model)


@torch.enable_grad()
def _moments_by_derivative(model: _Quadratic, time_limit: float) -> tuple[Tensor, Tensor]:
    J, h = (t.detach().requires_grad_() for t in (model.J, model.h))
    log_z = _log_partition_by_split(J, h, model.units, time_limit)
    slopes, mean = torch.autograd.grad(log_z, (J, h), materialize_grads=True)
    correlation = slopes + slopes.T  # J holds every pair twice
    correlation.diagonal().copy_(torch.ones_like(mean) if model.units == "spin" else mean)
    return mean, correlation


@torch.no_grad()
def _moments_by_enumeration(model: EnergyModel, time_limit: float) -> tuple[Tensor, Tensor]:
    _refuse_unless_quickly_enumerated(model, time_limit, passes=2)
    log_z = _log_partition_by_enumeration(model)
    mean = log_z.new_zeros(model.n_units)
    correlation = log_z.new_zeros(model.n_units, model.n_units)
    for x in _states_in_blocks(model):
        q = (_negative_energy(model, x) - log_z).exp()  # (block,)
        mean += q @ x
        correlation += (q * x.T) @ x
    return mean, correlation


def _admit(model: EnergyModel, time_limit: float) -> EnergyModel:
    """Refuse what cannot be enumerated; return a quadratic energy as `_Quadratic`."""
    require_energy_model(model)
    require_positive(time_limit, "time_limit")
    J, h = getattr(model, "J", None), getattr(model, "h", None)
    if not isinstance(J, Tensor) or not isinstance(h, Tensor):
        return model
    n = model.n_units
    if J.shape != (n, n) or h.shape != (n,):
        return model
    require_finite(J, "J")
    require_finite(h, "h")
    J, h = J.to(torch.float64), h.to(torch.float64)
    quadratic = _Quadratic((J + J.T) / 2, h, model.units)  # the split reads one triangle only
    return quadratic if _agree(model, quadratic) else model


@torch.no_grad()
def _agree(model: EnergyModel, quadratic: _Quadratic) -> bool:
    """Compare the energies of a few states: J and h may be only a part of the model's energy."""
    i = torch.arange(model.n_units)
    last = len(i) - 1
    rows = (i < 0, i >= 0, i % 2 == 0, i % 4 < 2, i % 3 == 0, i == 0, i == last // 2, i != last)
    digits = torch.stack(rows)
    x = (2 * digits - 1 if model.units == "spin" else digits.long()).to(quadratic.h)
    expected, given = (_negative_energy(m, x) for m in (quadratic, model))
    tolerance = max(1e-6, torch.finfo(_reference(model).dtype).eps ** 0.5)
    return bool((given - expected).abs().max() <= tolerance * expected.abs().max())


def _quadratic(x: Tensor, J: Tensor, h: Tensor) -> Tensor:
    return x @ h + ((x @ J) * x).sum(-1) / 2


def _negative_energy(model: EnergyModel, x: Tensor) -> Tensor:
    return -model.energy(x.to(_reference(model).dtype)).to(torch.float64)


def _reference(model: Any) -> Tensor:
    """Return a tensor of the model's dtype and device."""
    if isinstance(getattr(model, "h", None), Tensor):
        return model.h
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next(iter(parameters), torch.empty(0, dtype=torch.float64))


def _states_in_blocks(model: EnergyModel) -> Iterator[Tensor]:
    n, device = model.n_units, _reference(model).device
    for start in range(0, 2**n, _BLOCK_STATES):
        yield enumerate_states(start, min(start + _BLOCK_STATES, 2**n), n, model.units).to(device)


def _in_bounded_memory(call: Callable, argument: object, alone: bool = False):
    """Call for one block; the backward pass computes it again, instead of storing all blocks."""
    if alone or not torch.is_grad_enabled():
        return call(argument)
    return checkpoint(call, argument, use_reentrant=False, preserve_rng_state=False)


def _refuse_unless_quickly_enumerated(
    model: EnergyModel, time_limit: float, passes: int = 1
) -> None:
    """Estimate from one block of states; a small model is not worth the trial."""
    n = model.n_units
    log2_blocks = n - math.log2(_BLOCK_STATES)
    if log2_blocks <= 3:
        return
    seconds = _BLOCK_STATES * _SECONDS_PER_EXP
    if n < 63:  # beyond that int64 cannot number the states, and no trial is needed
        start = time.perf_counter()
        with torch.no_grad():
            _negative_energy(model, next(_states_in_blocks(model)))
        seconds = time.perf_counter() - start
    _refuse_unless_quick(n, log2_blocks + math.log2(passes * seconds), time_limit)


def _refuse_unless_quick(n: int, log2_seconds: float, time_limit: float) -> None:
    if log2_seconds > min(math.log2(time_limit), _LOG2_SECONDS):
        raise ValueError(
            f"{n} units mean 2^{n} states: {_amount(log2_seconds)} s of work, over the time_limit "
            f"of {time_limit:.3g} s; raise time_limit, take fewer units, or estimate by sampling."
        )


def _refuse_unless_it_fits(n: int, log2_bytes: float) -> None:
    available = psutil.virtual_memory().available
    if log2_bytes > math.log2(available):
        raise ValueError(
            f"{n} units mean 2^{n} states: {_amount(log2_bytes - 30)} GiB of memory, but "
            f"{available / 2**30:.3g} GiB are available; take fewer units, or estimate by sampling."
        )


def _amount(log2: float) -> str:
    """Print 2^log2, which may be larger than the largest float."""
    if log2 < 50:
        return f"about {2**log2:.3g}"
    return f"more than 10^{math.floor(log2 * math.log10(2))}"
