"""An RBM: enumerate the smaller layer, in two halves, and multiply the other layer's factors.

Given the units z of the smaller layer, the n units of the larger one are independent. Unit i
feels the field f_i(z), and summing it out leaves one factor. With δ = 1 for spins, and δ = 1/2
for binary units, where moreover Σ_u e^{u f} = e^{f/2} · 2 cosh(f/2),

    Z = Σ_z e^{linear(z)} Π_i 2 cosh(F_i(z)),    F_i(z) = δ f_i(z) = α_i(z_A) + β_i(z_B),

where A and B are the halves of the smaller layer. For a few units the product of the cosh is a
sum of exponentials that are products too, of a part of z_A and a part of z_B,

    Π_i 2 cosh(α_i + β_i) = Σ_σ e^{Σ_i σ_i α_i} e^{Σ_i σ_i β_i}:

a matrix product over the 2^g values of σ gives the factor of g units at all pairs (z_A, z_B),
without any exponential. With M_i = max_z |F_i(z)|, the factor cosh(F_i) e^{-M_i} lies between
e^{-M_i} and one; so the factors may be multiplied, and no logarithm be taken, until the M_i add
up to what float64 can hold. Nothing underflows that could be seen, by construction.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lecture_pkg._states import enumerate_states
from lecture_pkg.exact._limits import SECONDS_PER_EXP, refuse_unless_it_fits, refuse_unless_quick
from lecture_pkg.exact._parallel import in_parallel
from lecture_pkg.exact.energy_model import VisibleUnits
from lecture_pkg.models.rbm import log_sum_over_unit

_GROUP = 3  # units in one matrix product: 2^3 / 3 multiplications for each unit are the fewest
_LOG_RANGE = 600.0  # e^-600 is a normal number of float64, and what is lost below it invisible
_BLOCK_SIDE = 2**9  # states of A and of B in a block: 2 MiB, which the cache may hold
_SECONDS_PER_FACTOR = 1e-9  # of one unit at one state: estimates err on the slow side
_PASSES_WITH_MOMENTS = 8  # the work of log Z and its derivatives, in units of log Z alone


@dataclass
class _Group:
    """A few units of the larger layer, and their exponentials at the states of each half."""

    units: slice
    signs: Tensor  # (g, 2^g): the values of σ
    a: Tensor  # (states of A, 2^g)
    b: Tensor  # (states of B, 2^g)


@dataclass
class _Plan:
    """Which units go together: runs of groups between two logarithms, and units too strong."""

    runs: list[list[slice]]
    alone: list[int]
    bounds: Tensor  # (n,): M_i, or zero for the units that stand alone


def log_partition(model: VisibleUnits, time_limit: float) -> Tensor:
    """Compute log Z in blocks of bounded memory; differentiable once."""
    W, small, large = _layers(model)
    learning = torch.is_grad_enabled() and any(t.requires_grad for t in (W, small, large))
    _refuse_unless_feasible(
        W, small, large, model.units, time_limit, passes=_PASSES_WITH_MOMENTS if learning else 1
    )
    return _LogPartition.apply(W, small, large, model.units)


@torch.no_grad()
def moments(model: VisibleUnits, time_limit: float) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ⟨x⟩, ⟨z⟩ and ⟨x zᵀ⟩."""
    W, small, large = _layers(model)
    _refuse_unless_feasible(W, small, large, model.units, time_limit, _PASSES_WITH_MOMENTS)
    sum_ = _Sum(W, small, large, model.units)
    of_large, of_small, correlation = sum_.moments(sum_.log_partition())
    if len(small) == model.W.shape[1]:
        return of_large, of_small, correlation
    return of_small, of_large, correlation.T


class _LogPartition(torch.autograd.Function):
    """log Z; its derivatives in W and the fields are the moments, summed in a second pass."""

    @staticmethod
    def forward(ctx, W: Tensor, small: Tensor, large: Tensor, units: str) -> Tensor:
        log_z = _Sum(W, small, large, units).log_partition()
        ctx.save_for_backward(W, small, large, log_z)
        ctx.units = units
        return log_z

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        W, small, large, log_z = ctx.saved_tensors
        of_large, of_small, correlation = _Sum(W, small, large, ctx.units).moments(log_z.detach())
        return slope * correlation, slope * of_small, slope * of_large, None


class _Sum:
    """The tables of one machine, and the sums over all pairs of their states.

    Args:
        W: couplings (n, m) of the larger and the smaller layer.
        small: fields (m,) of the smaller layer.
        large: fields (n,) of the larger layer.
        units: the convention of both.
    """

    def __init__(self, W: Tensor, small: Tensor, large: Tensor, units: str):
        self.units = units
        m = len(small)
        A, B = slice(0, m // 2), slice(m // 2, m)
        self.z_a, self.z_b = (
            enumerate_states(0, 2**k, k, units).to(W.device) for k in (m // 2, m - m // 2)
        )
        half = 1.0 if units == "spin" else 0.5
        alpha, beta = half * (self.z_a @ W[:, A].T + large), half * self.z_b @ W[:, B].T
        middle = (beta.amax(0) + beta.amin(0)) / 2
        self.alpha, self.beta = alpha + middle, beta - middle  # now |α| + |β| reaches max |F|
        linear = small if units == "spin" else small + W.sum(0) / 2
        self.linear_a, self.linear_b = self.z_a @ linear[A], self.z_b @ linear[B]

        self.alpha_max, self.beta_max = self.alpha.abs().amax(0), self.beta.abs().amax(0)
        plan = _plan(W, large, units)
        self.alone = plan.alone
        groups = in_parallel(self._group, [group for run in plan.runs for group in run])
        self.runs = [[next(groups) for _ in run] for run in plan.runs]
        n_grouped = len(large) - len(plan.alone)
        self.shift = plan.bounds.sum() + n_grouped * math.log(2)
        if units == "binary":
            self.shift = self.shift + large.sum() / 2
        side = _BLOCK_SIDE
        self.blocks = [
            (slice(i, min(i + side, len(self.z_a))), slice(j, min(j + side, len(self.z_b))))
            for i in range(0, len(self.z_a), side)
            for j in range(0, len(self.z_b), side)
        ]

    def log_partition(self) -> Tensor:
        sums = in_parallel(lambda b: self._log_weights(*b).flatten().logsumexp(0), self.blocks)
        return torch.stack(list(sums)).logsumexp(0)

    def moments(self, log_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum ⟨u⟩ of the larger layer, ⟨z⟩ and ⟨u zᵀ⟩, first for σ = ±1 in the place of u.

        ⟨σ_i⟩ is summed for every state of A, and for every state of B, with its probability.
        """
        q_a, q_b = torch.zeros_like(self.linear_a), torch.zeros_like(self.linear_b)
        sigma_a, sigma_b = torch.zeros_like(self.alpha), torch.zeros_like(self.beta)
        parts = in_parallel(lambda b: self._moments_of_block(log_z, *b), self.blocks)
        for (rows, columns), part in zip(self.blocks, parts, strict=True):
            q_a[rows] += part[0]
            q_b[columns] += part[1]
            sigma_a[rows] += part[2]
            sigma_b[columns] += part[3]
        of_small = torch.cat([q_a @ self.z_a, q_b @ self.z_b])
        of_large = sigma_a.sum(0)
        correlation = torch.cat([sigma_a.T @ self.z_a, sigma_b.T @ self.z_b], 1)
        if self.units == "binary":
            return (1 + of_large) / 2, of_small, (of_small + correlation) / 2
        return of_large, of_small, correlation

    def _moments_of_block(self, log_z: Tensor, rows: slice, columns: slice) -> tuple[Tensor, ...]:
        q = (self._log_weights(rows, columns) - log_z).exp_()  # (rows, columns)
        sigma_a, sigma_b = torch.zeros_like(self.alpha[rows]), torch.zeros_like(self.beta[columns])
        ratio = torch.empty_like(q)
        for group in (group for run in self.runs for group in run):
            a, b = group.a[rows], group.b[columns]
            torch.mm(a, b.T, out=ratio)
            torch.div(q, ratio, out=ratio)  # the factor is at least e^-600
            sigma_a[:, group.units] = (a * (ratio @ b)) @ group.signs.T
            sigma_b[:, group.units] = (b * (ratio.T @ a)) @ group.signs.T
        for i in self.alone:
            torch.mul(q, self._field(i, rows, columns).tanh_(), out=ratio)
            sigma_a[:, i], sigma_b[:, i] = ratio.sum(1), ratio.sum(0)
        return q.sum(1), q.sum(0), sigma_a, sigma_b

    def _log_weights(self, rows: slice, columns: slice) -> Tensor:
        """Compute ln Σ_u exp(-E) at every pair of states of a block."""
        total = self.linear_a[rows, None] + self.linear_b[columns] + self.shift
        product, factor = torch.empty_like(total), torch.empty_like(total)
        for run in self.runs:
            for k, group in enumerate(run):
                torch.mm(group.a[rows], group.b[columns].T, out=factor if k else product)
                if k:
                    product.mul_(factor)
            total += product.log_()
        for i in self.alone:
            total += log_sum_over_unit(self._field(i, rows, columns), "spin")
        return total

    def _field(self, i: int, rows: slice, columns: slice) -> Tensor:
        return self.alpha[rows, i, None] + self.beta[columns, i]

    def _group(self, units: slice) -> _Group:
        g = units.stop - units.start
        signs = enumerate_states(0, 2**g, g, "spin").to(self.alpha.device).T
        # Shifted by the maxima, which add up to M_i, and halved for the cosh in 2 cosh.
        a = (self.alpha[:, units] @ signs - self.alpha_max[units].sum()).exp_() / 2**g
        b = (self.beta[:, units] @ signs - self.beta_max[units].sum()).exp_()
        return _Group(units, signs, a, b)


def _plan(W: Tensor, large: Tensor, units: str) -> _Plan:
    bounds = _bounds(W, large, units)
    runs: list[list[slice]] = []
    alone: list[int] = []
    room, size = -1.0, 0  # what the current run and the current group can still take
    for i, bound in enumerate(bounds.tolist()):
        if bound > _LOG_RANGE:
            alone.append(i)
            size = 0
        elif bound > room:
            runs.append([slice(i, i + 1)])
            room, size = _LOG_RANGE - bound, _GROUP - 1
        elif size == 0:
            runs[-1].append(slice(i, i + 1))
            room, size = room - bound, _GROUP - 1
        else:
            runs[-1][-1] = slice(runs[-1][-1].start, i + 1)
            room, size = room - bound, size - 1
    bounds[alone] = 0.0
    return _Plan(runs, alone, bounds)


def _bounds(W: Tensor, large: Tensor, units: str) -> Tensor:
    """Compute max_z |F_i(z)| for every unit of the larger layer."""
    if units == "spin":
        return large.abs() + W.abs().sum(1)
    lowest, highest = large + W.clamp_max(0).sum(1), large + W.clamp_min(0).sum(1)
    return torch.maximum(lowest.abs(), highest.abs()) / 2


def _layers(model: VisibleUnits) -> tuple[Tensor, Tensor, Tensor]:
    """Return W with the larger layer first, the fields of the smaller and of the larger layer."""
    if model.W.shape[1] <= model.W.shape[0]:
        return model.W, model.c, model.b
    return model.W.T, model.b, model.c


def _refuse_unless_feasible(
    W: Tensor, small: Tensor, large: Tensor, units: str, time_limit: float, passes: int
) -> None:
    m, n = len(small), len(large)
    plan = _plan(W.detach(), large.detach(), units)
    exponentials = len(plan.runs) + len(plan.alone)
    seconds = n * _SECONDS_PER_FACTOR + (1 + exponentials) * SECONDS_PER_EXP
    seconds *= passes / torch.get_num_threads()
    refuse_unless_quick(m, m + math.log2(seconds), time_limit)
    # Tables for each state of A and B, |α| and signed fields among them; blocks beside.
    log2_tables = m - m // 2 + 1 + math.log2(8 * n * (5 + 2**_GROUP / _GROUP))
    log2_blocks = 2 * min(m / 2, math.log2(_BLOCK_SIDE)) + math.log2(8 * 5)
    refuse_unless_it_fits(m, max(log2_tables, log2_blocks))
