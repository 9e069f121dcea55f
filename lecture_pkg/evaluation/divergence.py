"""Entropies and divergences of probability vectors, in nats; batches lead, outcomes come last."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import (
    require_floating,
    require_probabilities,
    require_same_dtype,
    require_shape,
)


class MonteCarloEstimate(NamedTuple):
    """A mean over independent samples, and the standard deviation that this mean has."""

    mean: Float[Tensor, ""]
    standard_error: Float[Tensor, ""]


def entropy(p: Float[Tensor, "*batch outcomes"]) -> Float[Tensor, "*batch"]:
    """Return H(p) = -Σ_x p(x) ln p(x), with 0 ln 0 = 0.

    Args:
        p: probabilities of the outcomes.

    Returns:
        Entropy in nats, between 0 and ln(outcomes).

    Raises:
        TypeError: if `p` is not a floating-point tensor.
        ValueError: if `p` holds no probability vectors.
    """
    return torch.special.entr(_require_vectors(p, "p")).sum(-1)


def cross_entropy(
    p: Float[Tensor, "*batch outcomes"], q: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch"]:
    """Return -Σ_x p(x) ln q(x) = H(p) + D_KL(p‖q): the expected surprise of a model q.

    Minus the objective of Equation (2.14), section 2.3, when p is the empirical distribution.

    Args:
        p: probabilities under which the mean is taken.
        q: probabilities of the model.

    Returns:
        Cross entropy in nats; infinite where q is zero and p is not.

    Raises:
        TypeError: if `p` or `q` is not a floating-point tensor, or their dtypes differ.
        ValueError: if the shapes differ or either holds no probability vectors.
    """
    p, q = _require_pair(p, q)
    return -_p_times(p, _safe_log(q, p)).sum(-1)


def kl(
    p: Float[Tensor, "*batch outcomes"], q: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch"]:
    """Return D_KL(p‖q) = Σ_x p(x) ln (p(x) / q(x)), with 0 ln 0 = 0.

    Equation (2.3), section 2.1. Rounding leaves an error of about the dtype's epsilon, so the
    result for p ≈ q may come out as a negative number of that size.

    Args:
        p: probabilities of the target; the mean is taken under them.
        q: probabilities of the model.

    Returns:
        Divergence in nats; infinite where q is zero and p is not.

    Raises:
        TypeError: if `p` or `q` is not a floating-point tensor, or their dtypes differ.
        ValueError: if the shapes differ or either holds no probability vectors.
    """
    return _kl(*_require_pair(p, q))


def jensen_shannon(
    p: Float[Tensor, "*batch outcomes"], q: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch"]:
    """Return ½ D_KL(p‖m) + ½ D_KL(q‖m) with m = (p + q)/2: symmetric, and at most ln 2.

    Args:
        p: probabilities of the outcomes.
        q: probabilities of the outcomes.

    Returns:
        Divergence in nats.

    Raises:
        TypeError: if `p` or `q` is not a floating-point tensor, or their dtypes differ.
        ValueError: if the shapes differ or either holds no probability vectors.

    Reference: J. Lin, Divergence measures based on the Shannon entropy, IEEE Transactions on
    Information Theory 37, 145 (1991).
    """
    p, q = _require_pair(p, q)
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def total_variation(
    p: Float[Tensor, "*batch outcomes"], q: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch"]:
    """Return ½ Σ_x |p(x) - q(x)|: the largest difference that any event can show.

    By Pinsker's inequality its square is at most D_KL(p‖q) / 2.

    Args:
        p: probabilities of the outcomes.
        q: probabilities of the outcomes.

    Returns:
        Distance between 0 and 1.

    Raises:
        TypeError: if `p` or `q` is not a floating-point tensor, or their dtypes differ.
        ValueError: if the shapes differ or either holds no probability vectors.

    Reference: T. M. Cover and J. A. Thomas, Elements of Information Theory, 2nd edition (2006),
    section 11.6.
    """
    p, q = _require_pair(p, q)
    return (p - q).abs().sum(-1) / 2


def kl_monte_carlo(
    log_p: Callable[[Float[Tensor, "n *event"]], Float[Tensor, " n"]],
    log_q: Callable[[Float[Tensor, "n *event"]], Float[Tensor, " n"]],
    samples: Float[Tensor, "n *event"],
) -> MonteCarloEstimate:
    """Return the mean of ln p(x) - ln q(x) over samples of p, which estimates D_KL(p‖q).

    Equation (2.3), section 2.1, with the sum replaced by a mean over samples: unbiased, with an
    error that shrinks as 1/√n whatever the dimension. An estimate may be negative.

    Args:
        log_p: normalised log-density of the target, in nats.
        log_q: normalised log-density of the model, in nats.
        samples: independent draws from p.

    Returns:
        `mean` and `standard_error`. Where q is zero at a sample, the mean is infinite and the
        standard error is NaN: no finite error bar exists.

    Raises:
        TypeError: if `samples` is not a floating-point tensor.
        ValueError: if there are fewer than two samples, if a log-density does not return one
            number for each, or if p is not positive and finite at one of them.
    """
    samples = require_floating(samples, "samples")
    if samples.dim() == 0 or len(samples) < 2:
        raise ValueError(
            "samples must hold at least two draws along its first dimension, but its shape is "
            f"{tuple(samples.shape)}; one draw has no standard error."
        )
    log_p_values = require_floating(log_p(samples), "log_p(samples)")
    log_q_values = require_floating(log_q(samples), "log_q(samples)")
    require_shape(log_p_values, (len(samples),), "log_p(samples)")
    require_shape(log_q_values, (len(samples),), "log_q(samples)")
    if not bool(torch.isfinite(log_p_values).all()):
        raise ValueError(
            "log_p(samples) must be finite, but it is not: a sample of p never falls where p is "
            "zero; check that the samples were drawn from p."
        )
    if bool((torch.isnan(log_q_values) | (log_q_values == torch.inf)).any()):
        raise ValueError(
            "log_q(samples) must be a number or minus infinity, but it holds NaN or plus infinity; "
            "check the log-density of the model."
        )
    log_ratio = log_p_values - log_q_values
    return MonteCarloEstimate(log_ratio.mean(), log_ratio.std() / len(samples) ** 0.5)


def _kl(
    p: Float[Tensor, "*batch outcomes"], q: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch"]:
    return _p_times(p, _safe_log(p, p) - _safe_log(q, p)).sum(-1)


def _safe_log(
    q: Float[Tensor, "*batch outcomes"], p: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch outcomes"]:
    """Return ln q where p > 0, else 0; replaced before the logarithm, so gradients stay finite."""
    return torch.where(p > 0, q, torch.ones_like(q)).log()


def _p_times(
    p: Float[Tensor, "*batch outcomes"], values: Float[Tensor, "*batch outcomes"]
) -> Float[Tensor, "*batch outcomes"]:
    return torch.where(p > 0, p * values, torch.zeros_like(p))


def _require_vectors(p: object, name: str) -> Tensor:
    tensor = require_floating(p, name)
    if tensor.dim() == 0 or tensor.shape[-1] == 0:
        raise ValueError(
            f"{name} must hold probability vectors in its last dimension, but its shape is "
            f"{tuple(tensor.shape)}; give at least one outcome."
        )
    require_probabilities(tensor, name)
    return tensor


def _require_pair(p: object, q: object) -> tuple[Tensor, Tensor]:
    p, q = _require_vectors(p, "p"), _require_vectors(q, "q")
    if p.shape != q.shape:
        raise ValueError(
            f"p and q must have the same shape, but theirs are {tuple(p.shape)} and "
            f"{tuple(q.shape)}; expand one with q.expand_as(p) if that is meant."
        )
    require_same_dtype(p=p, q=q)
    return p, q
