"""The Gaussian distribution: the one continuous model whose every integral is known."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_points,
    require_same_dtype,
    require_shape,
)


class Gaussian:
    """Normal distribution with a full covariance, held through its Cholesky factor.

    Equations (2.10), (2.15), (2.21), sections 2.2 and 2.4. One-dimensional data are the case
    dim = 1: a mean of shape (1,), a covariance of shape (1, 1), samples of shape (n, 1).
    Gradients flow from `log_prob` to `mean` and `cov`.

    Args:
        mean: centre of the density, shape (dim,).
        cov: covariance Σ, shape (dim, dim), symmetric and positive definite.

    Raises:
        TypeError: if a parameter is not a tensor of floating-point numbers, or the dtypes differ.
        ValueError: if a parameter holds NaN or infinity, if the shapes do not match, or if `cov`
            is not symmetric or not positive definite.
    """

    def __init__(self, mean: Float[Tensor, " dim"], cov: Float[Tensor, "dim dim"]) -> None:
        require_floating(mean, "mean")
        require_floating(cov, "cov")
        require_shape(mean, (None,), "mean")
        require_shape(cov, (mean.shape[0], mean.shape[0]), "cov")
        require_finite(mean, "mean")
        require_same_dtype(mean=mean, cov=cov)
        self.mean = mean
        self.cov = cov
        self.cholesky = cholesky_factor(cov, "cov")

    @classmethod
    def fit(cls, x: Float[Tensor, "n dim"]) -> "Gaussian":
        """Maximum-likelihood Gaussian: the mean and the 1/n covariance of the data.

        Equations (2.12), (2.13), (2.23), (2.24), sections 2.2 and 2.4.

        Args:
            x: samples as rows, shape (n, dim).

        Raises:
            ValueError: if `x` holds NaN or infinity or no row, or if its covariance is singular,
                where the likelihood has no maximum.
        """
        require_floating(x, "x")
        require_shape(x, (None, None), "x")
        require_finite(x, "x")
        n, dim = x.shape
        if n == 0 or dim == 0:
            raise ValueError(f"x must hold at least one number, but its shape is {tuple(x.shape)}.")
        mean = x.mean(0)
        deviation = x - mean
        cov = deviation.mT @ deviation / n
        if is_degenerate(cov, x.abs().amax(0)):
            raise ValueError(
                f"the covariance of these {n} samples in {dim} dimensions is singular (smallest "
                f"eigenvalue {smallest_eigenvalue(cov)}), so the likelihood has no maximum: "
                f"at least dim + 1 = {dim + 1} samples in general position are needed. Give more "
                "samples, drop constant or linearly dependent columns, or add a ridge yourself: "
                "Gaussian(mean, cov + ridge * torch.eye(dim))."
            )
        return cls(mean, cov)

    @property
    def dim(self) -> int:
        """Number of components of x."""
        return self.mean.shape[0]

    def energy(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Half the squared Mahalanobis distance, ½ (x - μ)ᵀ Σ⁻¹ (x - μ).

        Equation (2.15), section 2.4.
        """
        require_points(x, self.dim)
        return mahalanobis_energy(x, self.mean, self.cholesky)

    def log_partition(self) -> Float[Tensor, ""]:
        """Log of the normalising constant, ½ ln((2π)^dim det Σ), in nats.

        Equations (2.9), (2.16), (2.20), sections 2.2 and 2.4.
        """
        return gaussian_log_partition(self.cholesky)

    def log_prob(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Log-density in nats.

        Equations (2.10), (2.21), sections 2.2 and 2.4.

        Args:
            x: points, shape (..., dim).

        Returns:
            One value a point, shape (...).
        """
        return -self.energy(x) - self.log_partition()

    @torch.no_grad()
    def sample(self, n: int, *, rng: torch.Generator) -> Float[Tensor, "n dim"]:
        """Draw `n` independent points x = μ + L ε with Σ = L Lᵀ and standard normal ε."""
        require_count(n, "n")
        noise = torch.randn(n, self.dim, generator=rng, device=rng.device, dtype=self.mean.dtype)
        return self.mean + noise.to(self.mean.device) @ self.cholesky.mT


def kl_gaussian(p: Gaussian, q: Gaussian) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence D_KL(p ‖ q) of two Gaussians in nats, in closed form.

    The integral form of Equation (2.3), section 2.1, which for Gaussians is
    ½ [tr(Σ_q⁻¹ Σ_p) - dim + ln(det Σ_q / det Σ_p) + (μ_q - μ_p)ᵀ Σ_q⁻¹ (μ_q - μ_p)].
    With M = L_q⁻¹ L_p, lower triangular, the first three terms are a sum of squares and of
    m² - 1 - ln m² over the diagonal, so that no term is negative and none cancels another.

    Raises:
        ValueError: if the dimensions differ.
    """
    if p.dim != q.dim:
        raise ValueError(
            f"p and q must have the same dimension, but p has {p.dim} and q has {q.dim}."
        )
    ratio = torch.linalg.solve_triangular(q.cholesky, p.cholesky, upper=False)
    shift = torch.linalg.solve_triangular(q.cholesky, (p.mean - q.mean)[:, None], upper=False)
    log_square = 2 * (p.cholesky.diagonal().log() - q.cholesky.diagonal().log())  # ln m²
    diagonal = torch.expm1(log_square) - log_square
    return 0.5 * (diagonal.sum() + ratio.tril(-1).square().sum() + shift.square().sum())


def mahalanobis_energy(
    x: Float[Tensor, "*batch dim"], mean: Float[Tensor, " dim"], cholesky: Float[Tensor, "dim dim"]
) -> Float[Tensor, "*batch"]:
    """Half the squared Mahalanobis distance to `mean`, without any check of the input."""
    deviation = (x - mean).reshape(-1, x.shape[-1])  # (batch, dim)
    white = torch.linalg.solve_triangular(cholesky.mT, deviation, upper=True, left=False)
    return 0.5 * white.square().sum(-1).reshape(x.shape[:-1])


def gaussian_log_partition(cholesky: Float[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch"]:
    """½ ln((2π)^dim det Σ) from the Cholesky factor of Σ, one value a matrix."""
    log_diagonal = cholesky.diagonal(dim1=-2, dim2=-1).log()
    return 0.5 * cholesky.shape[-1] * math.log(2 * math.pi) + log_diagonal.sum(-1)


def cholesky_factor(cov: Tensor, name: str) -> Tensor:
    """Cholesky factors of one covariance or a stack of them, refusing what is none.

    Raises:
        ValueError: if an entry is NaN or infinite, or if a matrix is not symmetric or not
            positive definite (with its smallest eigenvalue, and its index in the stack).
    """
    require_finite(cov, name)
    size = cov.abs().amax((-2, -1), keepdim=True)
    asymmetry = ((cov - cov.mT).abs() / size.clamp_min(torch.finfo(cov.dtype).tiny)).max()
    if asymmetry > (1e-8 if cov.dtype == torch.float64 else 1e-4):
        raise ValueError(
            f"{name} must be symmetric, but opposite entries differ by {float(asymmetry):.3g} of "
            f"the largest entry; if that is rounding, give 0.5 * ({name} + {name}.mT)."
        )
    factor, info = torch.linalg.cholesky_ex(cov)
    if bool(info.any()):
        which = ""
        if cov.dim() > 2:
            index = int(info.flatten().nonzero()[0])
            which, cov = f" {index}", cov.reshape(-1, *cov.shape[-2:])[index]
        raise ValueError(
            f"{name}{which} must be positive definite, but its smallest eigenvalue is "
            f"{smallest_eigenvalue(cov)}; if that is rounding, add a small multiple of the "
            "identity to it."
        )
    return factor


def is_degenerate(cov: Float[Tensor, "dim dim"], size: Float[Tensor, " dim"]) -> bool:
    """Whether a covariance estimated from samples is singular up to rounding.

    A Cholesky factorisation may succeed on rounding errors alone, so both ways to be singular
    are measured in units that make the answer independent of the scale of each column: variances
    as small as the rounding of the samples, and correlations with a vanishing eigenvalue.

    Args:
        cov: the estimated covariance.
        size: largest absolute value in each column of the samples.
    """
    eps = torch.finfo(cov.dtype).eps
    deviation = cov.diagonal().sqrt()
    if not bool((deviation > 10 * eps * size).all()):
        return True
    correlation = cov / deviation / deviation[:, None]
    return float(torch.linalg.eigvalsh(correlation)[0]) < 10 * eps * len(size)


def smallest_eigenvalue(cov: Tensor) -> str:
    """The smallest eigenvalue as an error message names it; its rounding says nothing."""
    eigenvalues = torch.linalg.eigvalsh(cov.detach())
    # Twice what `is_degenerate` allows, so that what it finds is named alike on every machine.
    rounding = 20 * torch.finfo(cov.dtype).eps * len(eigenvalues) * eigenvalues.abs().max()
    if eigenvalues[0].abs() <= rounding:
        return "zero up to rounding"
    return f"{float(eigenvalues[0]):.3g}"
