"""Free energies from works: Jarzynski's equality and Bennett's acceptance ratio."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from lecture_pkg._checks import require_finite, require_floating


class FreeEnergyDifference(NamedTuple):
    """An estimate of ΔF = -ln Z_T + ln Z_0, dimensionless, and its standard deviation."""

    value: Float[Tensor, ""]
    standard_error: Float[Tensor, ""]


def jarzynski(work: Float[Tensor, " chains"]) -> FreeEnergyDifference:
    """Estimate ΔF = -ln ⟨exp(-W)⟩ from the works of independent chains.

    Equation (6.10), section 6.1. The mean of exp(-W) is unbiased for Z_T/Z_0, hence by Jensen's
    inequality the estimate of ΔF is too large on average. The error is that of the delta method,
    √(Var(exp(-W))/n) / ⟨exp(-W)⟩; it is honest only where no single chain dominates the mean, that
    is where `importance_sample_size` is tens at least.

    Args:
        work: W of each chain, divided by the temperature; two at least. Minus the log Z estimates
            of independent runs may be given as well: their exponentials are unbiased too.

    Returns:
        ΔF and its standard error, in float64.

    Raises:
        TypeError: if work is no floating-point tensor.
        ValueError: if there are fewer than two works, or one of them is not finite.

    Reference: C. Jarzynski, Nonequilibrium equality for free energy differences, Physical Review
    Letters 78, 2690 (1997).
    """
    log_weights = -_require_works(work, "work")
    n = len(log_weights)
    weights = (log_weights - log_weights.max()).exp()  # the largest is one: none overflows
    error = weights.std() / weights.mean() / n**0.5
    return FreeEnergyDifference(math.log(n) - log_weights.logsumexp(0), error)


def importance_sample_size(work: Float[Tensor, " chains"]) -> Float[Tensor, ""]:
    """Compute (Σ w)² / Σ w² of the weights w = exp(-W): how many equal chains they are worth.

    Equation (6.14), section 6.1. It lies between 1 and the number of chains. Arguments and errors
    are those of `jarzynski`.
    """
    log_weights = -_require_works(work, "work")
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def bennett_acceptance_ratio(
    forward_work: Float[Tensor, " forward"], reverse_work: Float[Tensor, " reverse"]
) -> FreeEnergyDifference:
    """Estimate ΔF from the works of both directions, with the smallest variance they allow.

    Equation (6.12), section 6.1. By Crooks' relation P_F(W) = P_R(-W) exp(W - ΔF), any function f
    of the forward work has ⟨f(W)⟩_F = ⟨f(W) exp(W - ΔF)⟩_R at W = -W_R. Bennett's f leads to the
    equation in ΔF, with M = ln(n_F/n_R),

        Σ_F 1 / (1 + exp(M + W_F - ΔF)) = Σ_R 1 / (1 + exp(-M + W_R + ΔF)),

    whose left side grows with ΔF while the right side falls.

    Args:
        forward_work: works on the way from q_0 to q_T.
        reverse_work: works on the time-reversed way from exact samples of q_T back to q_0, by the
            time-reversed kernels: the kernels themselves where they keep detailed balance.

    Returns:
        ΔF = F_T - F_0 and the asymptotic standard error, in float64. The error is honest only where
        the works of both directions overlap, W_F with -W_R; without overlap ΔF lies between them
        and nothing says where.

    Raises:
        TypeError: if one of them is no floating-point tensor.
        ValueError: if either has fewer than two works, or one of them is not finite.

    Reference: C. H. Bennett, Efficient estimation of free energy differences from Monte Carlo
    data, Journal of Computational Physics 22, 245 (1976).
    """
    forward = _require_works(forward_work, "forward_work")
    reverse = _require_works(reverse_work, "reverse_work")
    ratio = math.log(len(forward) / len(reverse))

    def log_terms(difference: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of the terms of both sums: the terms themselves may underflow."""
        on_the_left = logsigmoid(difference - ratio - forward)
        return on_the_left, logsigmoid(ratio - difference - reverse)

    ends = torch.cat([forward, -reverse])
    # At these ends the terms of one sum are all one, to rounding, and those of the other e^-40.
    low, high = ends.min() - abs(ratio) - 40, ends.max() + abs(ratio) + 40
    for _ in range(64):  # halves the interval below the rounding of float64
        middle = (low + high) / 2
        left, right = (terms.logsumexp(0) for terms in log_terms(middle))
        low, high = (low, middle) if left > right else (middle, high)
    value = (low + high) / 2
    # (⟨f²⟩/⟨f⟩² - 1)/n of each direction
    left, right = (
        (importance_sample_size(-terms).reciprocal() - 1 / len(terms)).clamp(min=0)
        for terms in log_terms(value)
    )
    return FreeEnergyDifference(value, (left + right).sqrt())


def _require_works(work: Tensor, name: str) -> Tensor:
    require_floating(work, name)
    if work.dim() != 1 or len(work) < 2:
        raise ValueError(
            f"{name} must hold the works of two chains at least, shape (chains,), but its shape is "
            f"{tuple(work.shape)}; one chain has no standard error."
        )
    require_finite(work, name)
    return work.to(torch.float64)
