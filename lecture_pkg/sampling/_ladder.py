"""What the methods of many temperatures ask of their ladder and of their chains."""

import torch
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_shape,
    require_unit_values,
)
from lecture_pkg.sampling.kernel import Kernel


def require_betas(betas: Tensor, *, increasing: bool = True) -> Tensor:
    """Return the ladder in float64 if it holds inverse temperatures, from hot to cold."""
    require_floating(betas, "betas")
    require_shape(betas, (None,), "betas")
    if len(betas) == 0:
        raise ValueError("betas must hold at least one inverse temperature, but it is empty.")
    require_finite(betas, "betas")
    if bool((betas < 0).any()):
        raise ValueError(
            f"betas must not be negative, but the smallest is {float(betas.min()):.4g}; "
            "an inverse temperature of zero is infinitely hot already."
        )
    if increasing and bool((betas.diff() <= 0).any()):
        raise ValueError(
            "betas must increase from hot to cold, without repetition, but an entry is not above "
            "the one before; sort them with betas.unique()."
        )
    return betas.to(torch.float64)


def require_chains(
    kernel: Kernel, n_chains: int, initial: Tensor | None, *, rng: torch.Generator
) -> Tensor:
    """Return the chains to start from: those given, or independent draws from q_0."""
    require_count(n_chains, "n_chains")
    if initial is None:
        return kernel.initial(n_chains, rng=rng)
    require_floating(initial, "initial")
    require_shape(initial, (n_chains, kernel.n_units), "initial")
    require_unit_values(initial, kernel.units, "initial")
    if initial.dtype != kernel.dtype:
        raise TypeError(
            f"initial must have the model's dtype {kernel.dtype}, but its dtype is "
            f"{initial.dtype}; convert it with .to()."
        )
    return initial
