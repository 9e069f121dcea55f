"""Sufficient statistics of a mixture of Gaussians: an EM iteration in two products a block.

The log-joint density ln q(x, z) is linear in the features (x_j x_l for j ≤ l, x, 1), and what
the M-step needs are sums of the same features weighted with the responsibilities. A block of
samples small enough for the cache gets its features, one matrix product for the E-step, a
softmax, and one matrix product for the M-step; nothing is stored for all samples.

A covariance found as second moment minus squared mean cancels for a component that is tight and
far from the origin. `cancellation` measures by how much, and callers go the plain way above
`CANCELLATION_LIMIT`, and above `LARGEST_DIM`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg.models.gaussian import gaussian_log_partition
from lecture_pkg.models.mixture import GaussianMixture

_BLOCK_NUMBERS = 2**19  # features of one block of samples: 4 MiB, stays in the cache
LARGEST_DIM = 100  # beyond, the dim²/2 features cost more than they save
CANCELLATION_LIMIT = 2.0**26  # 1 / √ε: half of the digits of float64 are left, in the worst case


def expected_moments(
    model: GaussianMixture, columns: Float[Tensor, "dim n"]
) -> tuple[Float[Tensor, "k features"], float]:
    """E-step and the sums of the M-step in one pass: Σ_i γ_ik (x xᵀ, x, 1) and mean ln q(x_i)."""
    dim, n = columns.shape
    coefficients = _coefficients(model)  # (k, features)
    n_features = coefficients.shape[1]
    moments = torch.zeros_like(coefficients)
    total = columns.new_zeros(())
    features = columns.new_ones(n_features, min(n, max(1, _BLOCK_NUMBERS // n_features)))
    for block in columns.split(features.shape[1], 1):  # (dim, block)
        phi = features[:, : block.shape[1]]
        start = 0
        for j in range(dim):
            torch.mul(block[j:], block[j], out=phi[start : start + dim - j])
            start += dim - j
        phi[start:-1] = block
        gamma = coefficients @ phi  # (k, block): ln q(x, z)
        largest = gamma.amax(0)
        gamma.sub_(largest).exp_()
        evidence = gamma.sum(0)
        gamma.div_(evidence)  # the responsibilities
        total += (largest + evidence.log()).sum()
        moments.addmm_(gamma, phi.mT)
    return moments, float(total) / n


def _coefficients(model: GaussianMixture) -> Float[Tensor, "k features"]:
    """Coefficients of ln q(x, z) in the features, with the precision Λ = Σ⁻¹.

    ln q(x, z) = -Σ_{j<l} Λ_jl x_j x_l - ½ Σ_j Λ_jj x_j² + (Λμ)ᵀx - ½ μᵀΛμ - ln Z + ln C.
    """
    precision = torch.cholesky_inverse(model.cholesky)
    row, column = torch.triu_indices(model.dim, model.dim)
    quadratic = torch.where(row == column, -0.5, -1.0).to(precision) * precision[:, row, column]
    linear = (precision @ model.means[:, :, None])[:, :, 0]
    constant = model.weights.log() - gaussian_log_partition(model.cholesky)
    constant = constant - 0.5 * (linear * model.means).sum(1)
    return torch.cat([quadratic, linear, constant[:, None]], 1)


def model_from_moments(
    moments: Float[Tensor, "k features"], dim: int, ridge: float
) -> GaussianMixture | None:
    """M-step from the sums of the features; None where the plain M-step is needed instead.

    That is where cancellation may have spoilt it, and where a component degenerates.
    """
    mass = moments[:, -1]
    if not bool((mass > torch.finfo(mass.dtype).eps).all()):
        return None
    second, means = (moments[:, :-1] / mass[:, None]).split([moments.shape[1] - dim - 1, dim], 1)
    row, column = torch.triu_indices(dim, dim)
    covs = moments.new_empty(len(mass), dim, dim)
    covs[:, row, column] = covs[:, column, row] = second - means[:, row] * means[:, column]
    covs.diagonal(dim1=1, dim2=2).add_(ridge)
    try:
        model = GaussianMixture(mass / mass.sum(), means, covs)
    except ValueError:
        return None
    return model if cancellation(model) < CANCELLATION_LIMIT else None


def cancellation(model: GaussianMixture) -> float:
    """Factor by which rounding of the features is amplified: the largest mᵀ|Σ⁻¹|m.

    m = |μ| + standard deviations is the size of a sample of the component. The factor is large
    for a component that is tight in some direction and far from the origin.
    """
    size = model.means.abs() + model.covs.diagonal(dim1=1, dim2=2).sqrt()
    precision = torch.cholesky_inverse(model.cholesky).abs()
    return float(torch.einsum("kj,kjl,kl->k", size, precision, size).max())
