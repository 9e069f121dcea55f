"""Densities in the plane whose logarithm and score are known exactly.

All are mixtures of Gaussian distributions: fine shapes come from many narrow components, and no
normalisation constant has to be estimated.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_points,
    require_probabilities,
    require_same_dtype,
    require_shape,
)


class PlaneDensity:
    """A mixture of Gaussian distributions in the plane.

    Args:
        weights: probabilities of the components.
        means: their centres.
        covs: their covariance matrices, symmetric and positive definite.

    Raises:
        TypeError: if an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: if shapes disagree, the weights are no probability vector, or a covariance
            matrix is not symmetric and positive definite.
    """

    def __init__(
        self,
        weights: Float[Tensor, " k"],
        means: Float[Tensor, "k 2"],
        covs: Float[Tensor, "k 2 2"],
    ) -> None:
        self.weights = require_floating(weights, "weights")
        self.means = require_floating(means, "means")
        self.covs = require_floating(covs, "covs")
        require_shape(self.weights, (None,), "weights")
        require_shape(self.means, (len(self.weights), 2), "means")
        require_shape(self.covs, (len(self.weights), 2, 2), "covs")
        require_same_dtype(weights=weights, means=means, covs=covs)
        require_probabilities(self.weights, "weights")
        require_finite(self.means, "means")
        require_finite(self.covs, "covs")
        if not torch.allclose(self.covs, self.covs.mT):
            raise ValueError("covs must be symmetric; symmetrise them with (covs + covs.mT) / 2.")
        smallest = float(torch.linalg.eigvalsh(self.covs).min())
        if smallest <= 0:
            raise ValueError(
                f"covs must be positive definite, but their smallest eigenvalue is {smallest:.3g}; "
                "add a small multiple of the identity."
            )
        self._cholesky = torch.linalg.cholesky(self.covs)  # (k, 2, 2)
        eye = torch.eye(2, dtype=self.covs.dtype, device=self.covs.device)
        # Inverting the 2×2 factors once is as accurate as solving at every point, and much faster.
        self._whitener = torch.linalg.solve_triangular(self._cholesky, eye, upper=False)

    def log_prob(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """Return ln p(x) in nats: the mixture of Equation (3.1), section 3.1.

        Raises:
            TypeError: if `x` is not a floating-point tensor.
            ValueError: if the last dimension is not 2 or `x` is not finite.
        """
        return torch.logsumexp(self._log_joint(self._whitened(x)), dim=-1)

    def score(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Return ∇ ln p(x) = Σ_k γ_k(x) Σ_k^{-1} (μ_k - x), γ_k being the responsibilities.

        Raises:
            TypeError: if `x` is not a floating-point tensor.
            ValueError: if the last dimension is not 2 or `x` is not finite.
        """
        z = self._whitened(x)
        responsibilities = torch.softmax(self._log_joint(z), dim=-1)  # (*batch, k)
        return -torch.einsum("...k,kij,...ki->...j", responsibilities, self._whitener, z)

    def sample(self, n: int, *, rng: torch.Generator) -> Float[Tensor, "n 2"]:
        """Draw `n` independent points: first the component, then the point within it.

        Args:
            n: number of draws.
            rng: source of randomness, on the device of the parameters.

        Raises:
            TypeError: if `n` is not an integer.
            ValueError: if `n` is less than one.
        """
        require_count(n, "n")
        label = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        noise = torch.randn(n, 2, 1, generator=rng, dtype=self.means.dtype, device=rng.device)
        return self.means[label] + (self._cholesky[label] @ noise).squeeze(-1)

    def _whitened(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch k 2"]:
        """Return L_k^{-1} (x - μ_k), where Σ_k = L_k L_kᵀ."""
        x = require_points(x, 2)
        difference = x[..., None, :] - self.means  # (*batch, k, 2)
        return torch.einsum("kij,...kj->...ki", self._whitener, difference)

    def _log_joint(self, z: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k"]:
        """Return ln C_k + ln N(x; μ_k, Σ_k) from the whitened differences."""
        log_det = self._cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # ½ ln det Σ_k
        log_normal = -0.5 * z.square().sum(-1) - log_det - math.log(2 * math.pi)
        return self.weights.log() + log_normal


def gaussian_mixture_2d(separation: float = 1.0) -> PlaneDensity:
    """Return three unequal, tilted Gaussian components: nothing about it is symmetric.

    Args:
        separation: multiplies the distances between the centres; small values merge the modes.

    Raises:
        ValueError: if `separation` is not a finite number of at least zero.
    """
    if not (math.isfinite(separation) and separation >= 0):
        raise ValueError(f"separation must be finite and at least 0, but {separation} was given.")
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    means = torch.tensor([[-1.6, -0.8], [1.8, -0.4], [0.3, 1.9]], dtype=torch.float64)
    covs = torch.tensor(
        [[[0.45, 0.20], [0.20, 0.30]], [[0.25, -0.12], [-0.12, 0.50]], [[0.60, 0.0], [0.0, 0.12]]],
        dtype=torch.float64,
    )
    return PlaneDensity(weights, separation * means, covs)


def ring_2d(radius: float = 2.0, width: float = 0.2, n_components: int = 64) -> PlaneDensity:
    """Return a ring: equal round components with centres evenly spaced on a circle.

    The density along the circle is smooth when the spacing 2π radius / n_components is at most
    about `width`.

    Args:
        radius: of the circle of centres.
        width: standard deviation of a component.
        n_components: number of centres.

    Raises:
        TypeError: if `n_components` is not an integer.
        ValueError: if `radius`, `width` or `n_components` is not positive.
    """
    _require_positive(radius=radius, width=width)
    require_count(n_components, "n_components")
    angle = torch.arange(n_components, dtype=torch.float64) * (2 * math.pi / n_components)
    return _round_components(radius * torch.stack([angle.cos(), angle.sin()], dim=-1), width)


def two_spirals_2d(
    turns: float = 1.0, radius: float = 2.5, width: float = 0.12, n_components: int = 64
) -> PlaneDensity:
    """Return two interleaved spiral arms, each the other turned by half a turn.

    The centres lie on the Archimedean spiral r = radius · t, angle = 2π turns · t, evenly in t²
    so that they are about evenly spaced along the arm.

    Args:
        turns: how often an arm winds around the origin.
        radius: where the arms end.
        width: standard deviation of a component.
        n_components: number of centres on each arm.

    Raises:
        TypeError: if `n_components` is not an integer.
        ValueError: if `turns`, `radius`, `width` or `n_components` is not positive.
    """
    _require_positive(turns=turns, radius=radius, width=width)
    require_count(n_components, "n_components")
    t = torch.linspace(0.05, 1.0, n_components, dtype=torch.float64).sqrt()
    angle = 2 * math.pi * turns * t
    arm = radius * t[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
    return _round_components(torch.cat([arm, -arm]), width)


def _round_components(means: Float[Tensor, "k 2"], width: float) -> PlaneDensity:
    k = len(means)
    weights = torch.full((k,), 1 / k, dtype=means.dtype)
    covs = width**2 * torch.eye(2, dtype=means.dtype).expand(k, 2, 2)
    return PlaneDensity(weights, means, covs)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and positive, but {value} was given.")
