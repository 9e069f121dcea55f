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
from typing import Any, NamedTuple, Protocol, runtime_checkable

import psutil
import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_shape,
    require_tensor,
    require_unit_values,
    require_units,
)

_BLOCK_ENTRIES = 2**20  # of a table held in full: 8 MiB, which the allocator reuses
_BLOCK_STATES = 2**15
_LOG_SMALLEST = -700.0  # below e^-708 a product of exponentials underflows
_LOG_PRECISION = -37.0  # e^-37 is below the rounding of float64
_FLOPS_PER_THREAD = 2e10  # a modest core in float64: estimates err on the slow side
_SECONDS_PER_EXP = 1e-8


@runtime_checkable
class EnergyModel(Protocol):
    """What can be enumerated: an energy of `n_units` units that take two values.

    A model that also has attributes `J` and `h` is taken to have a `BoltzmannMachine`'s energy.
    """

    units: str

    @property
    def n_units(self) -> int:
        """How many units the model has."""

    def energy(self, x: Tensor) -> Tensor:
        """Return E(x) of shape (...) for x of shape (..., n_units)."""


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
    _refuse_unless_it_fits(n, 4 * 8 * n * 2**n)
    return _states(0, 2**n, n, units)


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
        ValueError: if the time or the memory that the request would take is out of reach, found
            before it is spent; if a parameter is not finite.
    """
    return _log_partition(model, time_limit).to(_reference(model).dtype)


def probabilities(model: EnergyModel, *, time_limit: float = 600.0) -> Float[Tensor, " states"]:
    """Compute q(x) of every state, in the order of `states`; differentiable.

    Equation (2.1), section 2. Arguments and errors are those of `log_partition`.
    """
    _refuse_unless_it_fits(model.n_units, 4 * 8 * 2**model.n_units)
    _refuse_unless_quick(model.n_units, _seconds_by_enumeration(model), time_limit)
    log_weights = torch.cat([_negative_energy(model, x) for x in _states_in_blocks(model)])
    return log_weights.softmax(0).to(_reference(model).dtype)


def moments(model: EnergyModel, *, time_limit: float = 600.0) -> Moments:
    """Compute ⟨x_k⟩ and ⟨x_k x_l⟩, without gradients.

    Equations (2.28), (2.29), section 2.5: for quadratic energies they are the derivatives of
    log Z in h_k and J_kl; for other energies they are summed over the states. Arguments and
    errors are those of `log_partition`.
    """
    by_model = _moments_by_derivative if _is_quadratic(model) else _moments_by_enumeration
    mean, correlation = by_model(model, time_limit)
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
    require_tensor(x, "x")
    require_shape(x, (None, model.n_units), "x")
    require_unit_values(x, model.units, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it is empty.")
    log_q = _negative_energy(model, x).mean() - _log_partition(model, time_limit)
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
    blocks = [slice(start, start + step) for start in range(0, 2**a, step)]
    learning = torch.is_grad_enabled() and (J.requires_grad or h.requires_grad)
    _refuse_unless_it_fits(n, 8 * (3 + 2 * learning) * (2 ** (b + c) + 3 * step * 2**c))
    seconds = (4 if learning else 1) * 2 ** (n + 1) / _FLOPS_PER_THREAD / torch.get_num_threads()
    _refuse_unless_quick(n, seconds, time_limit)

    x_a, x_b, x_c = (_states(0, 2**m, m, units).to(h.device) for m in (a, b, c))
    e_a, e_b, e_c = (_quadratic(x, J[S, S], h[S]) for x, S in ((x_a, A), (x_b, B), (x_c, C)))

    # The terms within B are shared between f and g, so that both prefer similar states of B.
    g = e_b[:, None] / 2 + e_c + x_b @ J[B, C] @ x_c.T  # (2^b, 2^c)
    g_max = g.detach().amax(0)  # (2^c,)
    G = (g - g_max).exp()

    def f_and_k(rows: slice) -> tuple[Tensor, Tensor]:
        f = e_a[rows, None] + e_b / 2 + x_a[rows] @ J[A, B] @ x_b.T  # (rows, 2^b)
        k = x_a[rows] @ J[A, C] @ x_c.T  # (rows, 2^c)
        return f, k

    def sum_rows(rows: slice) -> tuple[Tensor, Tensor]:
        f, k = f_and_k(rows)
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

    sums = [_in_bounded_memory(sum_rows, rows, alone=len(blocks) == 1) for rows in blocks]
    log_rows, shifts = (torch.cat(parts) for parts in zip(*sums, strict=True))  # (2^a,)
    log_lost = shifts + n * math.log(2) + _LOG_SMALLEST  # as if every row lost as much
    doubtful = (log_lost > log_rows.logsumexp(0) + _LOG_PRECISION).nonzero()[:, 0]
    if len(doubtful) > 0:
        _refuse_unless_quick(n, len(doubtful) * 2 ** (b + c) * _SECONDS_PER_EXP, time_limit)
        safe = [_in_bounded_memory(sum_row_by_states, row) for row in doubtful.tolist()]
        log_rows = log_rows.index_copy(0, doubtful, torch.stack(safe))
    return log_rows.logsumexp(0)


def _log_partition_by_enumeration(model: EnergyModel, time_limit: float) -> Tensor:
    _refuse_unless_quick(model.n_units, _seconds_by_enumeration(model), time_limit)

    def sum_block(x: Tensor) -> Tensor:
        return _negative_energy(model, x).logsumexp(0)

    sums = [_in_bounded_memory(sum_block, x) for x in _states_in_blocks(model)]
    return torch.stack(sums).logsumexp(0)


def _log_partition(model: EnergyModel, time_limit: float) -> Tensor:
    if _is_quadratic(model):
        return _log_partition_by_split(*_couplings_and_fields(model), model.units, time_limit)
    return _log_partition_by_enumeration(model, time_limit)


@torch.enable_grad()
def _moments_by_derivative(model: EnergyModel, time_limit: float) -> tuple[Tensor, Tensor]:
    J, h = (t.detach().requires_grad_() for t in _couplings_and_fields(model))
    log_z = _log_partition_by_split(J, h, model.units, time_limit)
    slopes, mean = torch.autograd.grad(log_z, (J, h), materialize_grads=True)
    correlation = slopes + slopes.T  # J holds every pair twice
    correlation.diagonal().copy_(torch.ones_like(mean) if model.units == "spin" else mean)
    return mean, correlation


@torch.no_grad()
def _moments_by_enumeration(model: EnergyModel, time_limit: float) -> tuple[Tensor, Tensor]:
    log_z = _log_partition_by_enumeration(model, time_limit / 2)
    mean = log_z.new_zeros(model.n_units)
    correlation = log_z.new_zeros(model.n_units, model.n_units)
    for x in _states_in_blocks(model):
        q = (_negative_energy(model, x) - log_z).exp()  # (block,)
        mean += q @ x
        correlation += (q * x.T) @ x
    return mean, correlation


def _is_quadratic(model: EnergyModel) -> bool:
    return hasattr(model, "J") and hasattr(model, "h")


def _couplings_and_fields(model: Any) -> tuple[Tensor, Tensor]:
    J, h = model.J.to(torch.float64), model.h.to(torch.float64)
    require_finite(J, "J")
    require_finite(h, "h")
    return J, h


def _quadratic(x: Tensor, J: Tensor, h: Tensor) -> Tensor:
    return x @ h + ((x @ J) * x).sum(-1) / 2


def _negative_energy(model: EnergyModel, x: Tensor) -> Tensor:
    if _is_quadratic(model):
        return _quadratic(x.to(torch.float64), *_couplings_and_fields(model))
    return -model.energy(x.to(_reference(model).dtype)).to(torch.float64)


def _reference(model: Any) -> Tensor:
    """Return a tensor of the model's dtype and device."""
    if _is_quadratic(model):
        return model.h
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next(iter(parameters), torch.empty(0, dtype=torch.float64))


def _states(start: int, stop: int, n: int, units: str) -> Tensor:
    digits = torch.arange(start, stop)[:, None] >> torch.arange(n - 1, -1, -1) & 1
    return (2 * digits - 1 if units == "spin" else digits).to(torch.float64)


def _states_in_blocks(model: EnergyModel) -> Iterator[Tensor]:
    n, device = model.n_units, _reference(model).device
    for start in range(0, 2**n, _BLOCK_STATES):
        yield _states(start, min(start + _BLOCK_STATES, 2**n), n, model.units).to(device)


def _in_bounded_memory(call: Callable, argument: object, alone: bool = False):
    """Call for one block; the backward pass computes it again, instead of storing all blocks."""
    if alone or not torch.is_grad_enabled():
        return call(argument)
    return checkpoint(call, argument, use_reentrant=False, preserve_rng_state=False)


def _seconds_by_enumeration(model: EnergyModel) -> float:
    """Estimate from one block of states; a small model is not worth the trial."""
    n_blocks = 2**model.n_units / _BLOCK_STATES
    if n_blocks <= 8:
        return 0.0
    start = time.perf_counter()
    with torch.no_grad():
        _negative_energy(model, next(_states_in_blocks(model)))
    return n_blocks * (time.perf_counter() - start)


def _refuse_unless_quick(n: int, seconds: float, time_limit: float) -> None:
    if seconds > time_limit:
        raise ValueError(
            f"{n} units mean 2^{n} states: about {seconds:.3g} s of work, over the time_limit of "
            f"{time_limit:.3g} s; raise time_limit, take fewer units, or estimate by sampling."
        )


def _refuse_unless_it_fits(n: int, n_bytes: int) -> None:
    available = psutil.virtual_memory().available
    if n_bytes > available:
        raise ValueError(
            f"{n} units mean 2^{n} states: about {n_bytes / 2**30:.3g} GiB of memory, but "
            f"{available / 2**30:.3g} GiB are available; take fewer units, or estimate by sampling."
        )
