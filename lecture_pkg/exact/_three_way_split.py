"""An energy that couples units only in pairs: a matrix product visits the states.

Put the units in three groups A, B, C: every term of -E then depends on two groups at most, so that

    -E = f(A, B) + g(B, C) + k(A, C),    Z = Σ_{A,C} e^{k(A,C)} Σ_B e^{f(A,B)} e^{g(B,C)}.

With F = e^f, G = e^g, H = e^k as matrices of side 2^(n/3), Z is the sum of all entries of
(F G) ∘ H: one matrix product, where all the time goes, and only 3 · 2^(2n/3) exponentials.
"""

import math

import torch
from torch import Tensor

from lecture_pkg._states import enumerate_states
from lecture_pkg.exact._limits import (
    FLOPS_PER_THREAD,
    SECONDS_PER_EXP,
    in_bounded_memory,
    refuse_unless_it_fits,
    refuse_unless_quick,
)
from lecture_pkg.exact.energy_model import Quadratic, negative_quadratic

_BLOCK_ENTRIES = 2**20  # of a table held in full: 8 MiB, which the allocator reuses
_LOG_SMALLEST = -700.0  # below e^-708 a product of exponentials underflows
_LOG_PRECISION = -37.0  # e^-37 is below the rounding of float64


def log_partition(model: Quadratic, time_limit: float) -> Tensor:
    """Sum (F G) ∘ H, a block of rows (states of A) at a time; differentiable.

    Every table is shifted by its maxima, so that no exponential exceeds one. Those that
    underflow take at most e^-700 from each state, in units of the row's shift: where that could
    be seen in log Z, the row is summed again state by state.
    """
    J, h, units = model.J, model.h, model.units
    n = len(h)
    a, b, c = n // 3, (n + 1) // 3, (n + 2) // 3
    A, B, C = slice(0, a), slice(a, a + b), slice(a + b, n)
    step = max(1, _BLOCK_ENTRIES // 2**c)  # rows in a block
    learning = torch.is_grad_enabled() and (J.requires_grad or h.requires_grad)
    n_bytes = 8 * (3 + 2 * learning) * (2 ** (b + c) + 3 * step * 2**c)
    refuse_unless_it_fits(n, math.log2(n_bytes))
    flops_per_second = FLOPS_PER_THREAD * torch.get_num_threads()
    log2_flops = n + 1 + 2 * learning
    refuse_unless_quick(n, log2_flops - math.log2(flops_per_second), time_limit)
    blocks = range(0, 2**a, step)  # where they start

    x_a, x_b, x_c = (enumerate_states(0, 2**m, m, units).to(h.device) for m in (a, b, c))
    e_a, e_b, e_c = (
        negative_quadratic(x, J[S, S], h[S]) for x, S in ((x_a, A), (x_b, B), (x_c, C))
    )

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

    sums = [in_bounded_memory(sum_rows, start, alone=len(blocks) == 1) for start in blocks]
    log_rows, shifts = (torch.cat(parts) for parts in zip(*sums, strict=True))  # (2^a,)
    log_lost = shifts + n * math.log(2) + _LOG_SMALLEST  # as if every row lost as much
    doubtful = (log_lost > log_rows.logsumexp(0) + _LOG_PRECISION).nonzero()[:, 0]
    if len(doubtful) > 0:
        seconds = len(doubtful) * 2 ** (b + c) * SECONDS_PER_EXP
        refuse_unless_quick(n, math.log2(seconds), time_limit)
        safe = [in_bounded_memory(sum_row_by_states, row) for row in doubtful.tolist()]
        log_rows = log_rows.index_copy(0, doubtful, torch.stack(safe))
    return log_rows.logsumexp(0)


@torch.enable_grad()
def moments(model: Quadratic, time_limit: float) -> tuple[Tensor, Tensor]:
    """Compute ⟨x⟩ and ⟨x xᵀ⟩ as the derivatives of log Z in h and J."""
    J, h = (t.detach().requires_grad_() for t in (model.J, model.h))
    log_z = log_partition(Quadratic(J, h, model.units), time_limit)
    slopes, mean = torch.autograd.grad(log_z, (J, h), materialize_grads=True)
    correlation = slopes + slopes.T  # J holds every pair twice
    correlation.diagonal().copy_(torch.ones_like(mean) if model.units == "spin" else mean)
    return mean, correlation
