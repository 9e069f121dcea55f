"""Objectives that compare every sample with the states one flip away, and never ask for Z.

Such an objective is a mean over the samples of Σ_k φ(D_k), with one difference for each unit,

    D_k = F(x) - F(x with unit k flipped) = -ln q(x) + ln q(x with unit k flipped),

in which Z cancels. φ = e^{D/2} is minimum probability flow, φ = ln(1 + e^D) pseudo-likelihood.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lecture_pkg._checks import require_shape, require_tensor, require_unit_values
from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.rbm import RBM, log_sum_over_unit

_ENTRIES = 2**20  # of a table (samples, visible, hidden): 8 MiB in float64
_CACHED = 2**15  # entries of a table that stays in the cache from one step to the next


def write_gradient(
    model: torch.nn.Module,
    x: Tensor,
    phi: Callable[[Tensor], tuple[Tensor, Tensor]],
    counts: Tensor | None = None,
) -> Tensor:
    """Write the gradient of the mean of Σ_k φ(D_k) to `.grad`, and return that mean.

    Args:
        model: a BoltzmannMachine or an RBM, whose hidden units are summed out.
        x: samples, shape (n, visible).
        phi: returns φ(D) and its derivative; may overwrite D.
        counts: shape (n, visible); a flip is left out where it is false.
    """
    if isinstance(model, BoltzmannMachine):
        return _boltzmann_machine(model, _admit(model, x, model.n_units), phi, counts)
    if isinstance(model, RBM):
        return _rbm(model, _admit(model, x, model.n_visible), phi, counts)
    raise TypeError(
        "model must be a BoltzmannMachine or an RBM, whose flips are known in closed form, but a "
        f"{type(model).__name__} was given."
    )


def _admit(model: BoltzmannMachine | RBM, x: Tensor, n: int) -> Tensor:
    require_tensor(x, "x")
    require_shape(x, (None, n), "x")
    require_unit_values(x, model.units, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it is empty.")
    return x.to(next(model.parameters()).dtype)


def change_of_flip(x: Tensor, units: str) -> Tensor:
    """Return what a flip adds to each unit: -2x for spins, 1 - 2x for binary units."""
    return -2 * x if units == "spin" else 1 - 2 * x


@torch.no_grad()
def _boltzmann_machine(model: BoltzmannMachine, x: Tensor, phi, counts) -> Tensor:
    """D_k is the flip times the local field of k: two matrix products give value and gradient."""
    J, h = model.J, model.h
    total, G, g = h.new_zeros(()), torch.zeros_like(J), torch.zeros_like(h)
    rows = max(1, _CACHED // len(h))
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        flip = change_of_flip(part, model.units)
        value, slope = phi(torch.addmm(h, part, J).mul_(flip))  # of (rows, units)
        if counts is not None:
            keep = counts[start : start + rows]
            value, slope = value * keep, slope * keep
        slope = slope.mul_(flip)  # derivative in the local field
        total += value.sum()
        g += slope.sum(0)
        G.addmm_(slope.T, part)
    G += G.T.clone()  # J_kl enters the fields of k and of l
    pairs = torch.triu_indices(len(J), len(J), offset=1, device=x.device).unbind()
    _write(model.couplings, G[pairs] / len(x))
    _write(model.h, g / len(x))
    return total / len(x)


def _rbm(model: RBM, x: Tensor, phi, counts) -> Tensor:
    """A flip of unit k moves the hidden fields by a row of W; autograd does the rest."""
    for parameter in model.parameters():
        parameter.grad = None
    total = x.new_zeros(())
    rows = max(1, _ENTRIES // model.W.numel())
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        with torch.enable_grad():
            D = _free_energy_differences(model, part)
            with torch.no_grad():
                value, slope = phi(D.detach().clone())
                if counts is not None:
                    keep = counts[start : start + rows]
                    value, slope = value * keep, slope * keep
            torch.autograd.backward(D, slope / len(x))
        total += value.sum()
    return total / len(x)


def _free_energy_differences(model: RBM, x: Tensor) -> Tensor:
    flip = change_of_flip(x, model.units)  # (n, visible)
    field = x @ model.W + model.c  # (n, hidden)
    flipped = field[:, None] + flip[:, :, None] * model.W  # (n, visible, hidden)
    after = log_sum_over_unit(flipped, model.units).sum(-1)
    before = log_sum_over_unit(field, model.units).sum(-1, keepdim=True)
    return flip * model.b + after - before


def _write(parameter: torch.nn.Parameter, gradient: Tensor) -> None:
    parameter.grad = gradient if parameter.requires_grad else None
