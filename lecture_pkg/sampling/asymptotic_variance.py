"""The variance of long averages along a chain, exactly, from its transition matrix."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lecture_pkg._checks import (
    require_floating,
    require_probabilities,
    require_same_dtype,
    require_shape,
)


def asymptotic_variance(
    matrix: Float[Tensor, "states states"],
    probabilities: Float[Tensor, " states"],
    f: Float[Tensor, " states"],
) -> Float[Tensor, ""]:
    """Compute the limit of T · Var of the mean of f over T steps of a chain.

    Equation (5.21), section 5.3: with g from the Poisson equation, (1 - wᵀ) g = f - ⟨f⟩, it is
    2⟨(f - ⟨f⟩) g⟩ - Var f. Divided by Var f it is the autocorrelation time 1 + 2 Σ_t ρ_t.

    Args:
        matrix: w(x|x'), column x' the present state, as a kernel's `transition_matrix` gives it.
            The chain must be irreducible.
        probabilities: its stationary distribution.
        f: the values of a quantity in the states.

    Returns:
        The asymptotic variance, in the square of the unit of f, a step of the matrix being one.

    Raises:
        TypeError: if an argument is no floating-point tensor, or the dtypes differ.
        ValueError: if the shapes do not fit, columns or probabilities do not sum to one, the
            distribution is not stationary, or the chain is not irreducible.
    """
    named = {"matrix": matrix, "probabilities": probabilities, "f": f}
    for name, value in named.items():
        require_floating(value, name)
    require_same_dtype(**named)
    n = len(probabilities)
    require_shape(probabilities, (n,), "probabilities")
    require_shape(matrix, (n, n), "matrix")
    require_shape(f, (n,), "f")
    require_probabilities(probabilities, "probabilities")
    require_probabilities(matrix.T, "matrix.T")
    drift = float((matrix @ probabilities - probabilities).abs().max())
    if drift > (1e-8 if matrix.dtype == torch.float64 else 1e-4):
        raise ValueError(
            f"probabilities must be stationary, but a step of the chain moves them by {drift:.3g};"
            " give the distribution that the matrix leaves as it is."
        )
    if not (_reaches_all(matrix > 0) and _reaches_all(matrix.T > 0)):
        raise ValueError(
            "matrix must be irreducible, but some states cannot be reached from others: the mean "
            "over a long chain depends on where it starts, and has no single variance."
        )
    f = f - probabilities @ f
    # the term with `probabilities` takes the constants, on which 1 - wᵀ vanishes
    system = torch.eye(n, dtype=f.dtype, device=f.device) - matrix.T + probabilities
    g = torch.linalg.solve(system, f)
    return 2 * (probabilities * f) @ g - (probabilities * f) @ f


def _reaches_all(moves: Bool[Tensor, "to source"]) -> bool:
    """Say whether moves lead from the first state to every other, at last."""
    reached = torch.zeros(len(moves), dtype=torch.bool, device=moves.device)
    reached[0] = True
    new = reached
    while bool(new.any()):
        new = moves[:, new].any(1) & ~reached
        reached = reached | new
    return bool(reached.all())
