"""How much the states of a chain are worth: correlation in time, error bars, agreement of chains.

All of them take the values f(x_t) of one observable, time first, so that the cost is the same
whatever the size of the model. Numbers are computed in float64.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_finite, require_floating

_SHORTEST = 8  # below this the halves of a chain hold less than four values
_SMALLEST_EFFECTIVE_SIZE = 20  # a walk that never comes back still seems to be worth 3 to 11


def autocorrelation_time(f: Float[Tensor, "steps *chains"]) -> Float[Tensor, ""]:
    """Estimate the integrated autocorrelation time τ, in sweeps (in rows of f, to be exact).

    Equation (5.5), section 5, with the autocorrelation ρ_t of the values at distance t:

        τ = 1 + 2 Σ_{t≥1} ρ_t

    In this convention independent values have τ = 1, and n correlated ones are worth n / τ. Many
    physics texts call half of it τ_int. The sum stops by Geyer's initial monotone sequence:
    ρ_{2m} + ρ_{2m+1} is positive and decreasing in m for every reversible chain, hence the
    estimate is cut where that fails. Without detailed balance it is a rule of thumb: where the
    correlation oscillates, what is cut off begins with negative terms, and τ comes out too large
    rather than too small.

    Args:
        f: one value a step, shape (steps,), or of several chains, shape (steps, chains). The
            chains share one mean: a chain that stays elsewhere counts as correlation.

    Returns:
        τ in float64, not below 1 / log10(values) as in Vehtari et al.

    Raises:
        TypeError: if f is not a floating-point tensor.
        ValueError: if f holds NaN or infinity, is constant, or is too short for its correlation.

    References:
        Geyer, Practical Markov chain Monte Carlo, Statistical Science 7 (1992), section 3.3.
        Vehtari, Gelman, Simpson, Carpenter, Bürkner, Bayesian Analysis 16 (2021), section 3.2.
    """
    series = _series(f)
    n_values = series.numel()
    rho = _autocovariance(series)
    rho = rho[: 2 * (len(rho) // 2)] / rho[0]
    pairs = rho.view(-1, 2).sum(1)  # (steps // 2,)
    negative = (pairs <= 0).nonzero()
    end = int(negative[0]) if len(negative) else len(pairs)
    tau = 2 * pairs[:end].cummin(0).values.sum() - 1
    tau = tau.clamp(min=1 / math.log10(n_values))
    if (end == len(pairs) and tau > 1) or n_values < _SMALLEST_EFFECTIVE_SIZE * tau:
        raise ValueError(
            f"f is too short for its correlation: {len(series)} steps, while the autocorrelation "
            f"time seems to be {float(tau):.0f} or more; run the chain longer, or choose a "
            "kernel that crosses between the modes (compare chains with r_hat)."
        )
    return tau


def effective_sample_size(f: Float[Tensor, "steps *chains"]) -> Float[Tensor, ""]:
    """Estimate how many independent draws give the mean of f as precisely: values / τ.

    Equation (5.6), section 5. Arguments and errors are those of `autocorrelation_time`.
    """
    tau = autocorrelation_time(f)
    return f.numel() / tau


def standard_error(f: Float[Tensor, "steps *chains"]) -> Float[Tensor, ""]:
    """Estimate the standard error of the mean of f, with the correlation taken into account.

    Equation (5.6), section 5: the square root of τ · variance / values. It holds for chains
    that have reached the stationary distribution; drop the burn-in first.
    Arguments and errors are those of `autocorrelation_time`.
    """
    tau = autocorrelation_time(f)
    return (tau * f.double().var() / f.numel()).sqrt()


def r_hat(f: Float[Tensor, "steps chains"]) -> Float[Tensor, ""]:
    """Compare chains: 1 where they agree, larger where they have not mixed.

    Section 5. The rank-normalised split R-hat: every chain is cut into halves, values are
    replaced by the normal scores of their ranks, and the variance of all of them is compared with
    the variance inside the halves. The larger is returned of this and the same for |f - median|,
    which sees chains of equal centre and unequal width. Below 1.01 is the usual demand.

    Args:
        f: the values of one observable, shape (steps, chains), chains started far apart.

    Returns:
        R-hat in float64; infinite where no chain moves and they disagree.

    Raises:
        TypeError: if f is not a floating-point tensor.
        ValueError: if there are fewer than two chains or too few steps, if f holds NaN or
            infinity, or if all values are equal.

    Reference:
        Vehtari, Gelman, Simpson, Carpenter, Bürkner, Bayesian Analysis 16 (2021), section 4.
    """
    series = _series(f)
    if f.dim() != 2 or f.shape[1] < 2:
        raise ValueError(
            f"f must hold at least two chains, shape (steps, chains), but its shape is "
            f"{tuple(f.shape)}; start several chains from different states."
        )
    half = len(series) // 2
    halves = torch.cat([series[:half], series[-half:]], dim=1)  # an odd step in the middle is left
    ordered = halves.flatten().sort().values  # of even length
    median = (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2
    folded = (halves - median).abs()
    return torch.maximum(_split_r_hat(halves), _split_r_hat(folded))


def _series(f: Tensor) -> Float[Tensor, "steps chains"]:
    require_floating(f, "f")
    if f.dim() not in (1, 2):
        raise ValueError(
            f"f must have shape (steps,) or (steps, chains), but its shape is {tuple(f.shape)}; "
            "give one observable at a time."
        )
    require_finite(f, "f")
    if len(f) < _SHORTEST or f.numel() == 0:
        raise ValueError(
            f"f must hold at least {_SHORTEST} steps in its first dimension, but its shape is "
            f"{tuple(f.shape)}; run the chain longer, and check that time comes first."
        )
    series = f.detach().double().reshape(len(f), -1)
    if bool((series == series[0, 0]).all()):
        raise ValueError(
            "f is constant, and a chain that never moved does not tell how it moves; observe "
            "something that changes, or run longer."
        )
    return series


def _autocovariance(series: Float[Tensor, "steps chains"]) -> Float[Tensor, " steps"]:
    """Average the products at distance t = 0, 1, … over the chains, all divided by the steps."""
    n = len(series)
    spectrum = torch.fft.rfft(series - series.mean(), n=2 * n, dim=0)  # zeros: no wrapping round
    power = spectrum.abs().square().mean(1)
    return torch.fft.irfft(power, n=2 * n)[:n] / n


def _split_r_hat(halves: Float[Tensor, "steps chains"]) -> Float[Tensor, ""]:
    scores = _normal_scores(halves)
    n = len(scores)
    within = scores.var(0).mean()
    between = scores.mean(0).var()
    if within == 0 and between == 0:  # |f - median| of two equally far values: nothing to compare
        return torch.ones_like(within)
    return ((n - 1) / n + between / within).sqrt()


def _normal_scores(values: Tensor) -> Tensor:
    """Replace values by the normal quantiles of their ranks; equal values share a mean rank."""
    _, inverse, counts = values.flatten().unique(return_inverse=True, return_counts=True)
    rank = (counts.cumsum(0) - (counts - 1) / 2).double()
    scores = torch.special.ndtri((rank - 0.375) / (values.numel() + 0.25))
    return scores[inverse].view_as(values)
