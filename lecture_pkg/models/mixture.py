"""Mixture of Gaussians: the first model with a hidden variable, the label of the component."""

import torch
from jaxtyping import Float, Int64
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
from lecture_pkg.models.gaussian import (
    cholesky_factor,
    gaussian_log_partition,
    mahalanobis_energy,
)


class GaussianMixture:
    """Weighted sum of Gaussian densities, q(x) = Σ_k C_k N(x; μ_k, Σ_k).

    Equations (3.1), (3.2), section 3.1. Gradients flow from the densities to the parameters.

    Args:
        weights: mixing weights C, non-negative with sum one, shape (k,).
        means: centres μ_k as rows, shape (k, dim).
        covs: covariances Σ_k, each symmetric and positive definite, shape (k, dim, dim).

    Raises:
        TypeError: if a parameter is not a tensor of floating-point numbers, or the dtypes differ.
        ValueError: if a parameter holds NaN or infinity, if shapes do not match, if the weights
            are no probabilities, or if a covariance is not symmetric or not positive definite
            (the component is named).
    """

    def __init__(
        self,
        weights: Float[Tensor, " k"],
        means: Float[Tensor, "k dim"],
        covs: Float[Tensor, "k dim dim"],
    ) -> None:
        for name, tensor in (("weights", weights), ("means", means), ("covs", covs)):
            require_floating(tensor, name)
        require_shape(means, (None, None), "means")
        n_components, dim = means.shape
        require_shape(weights, (n_components,), "weights")
        require_shape(covs, (n_components, dim, dim), "covs")
        require_same_dtype(weights=weights, means=means, covs=covs)
        require_probabilities(weights, "weights")
        require_finite(means, "means")
        self.weights = weights
        self.means = means
        self.covs = covs
        self.cholesky = cholesky_factor(covs, "covs")  # (k, dim, dim)

    @property
    def n_components(self) -> int:
        """Number of components k."""
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        """Number of components of x."""
        return self.means.shape[1]

    def log_joint(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch k"]:
        """Log of the joint density of x and each label, ln q(x, z) = ln C_z + ln N(x; μ_z, Σ_z).

        Equations (3.11), (3.12), section 3.2, with the covariance Σ_z of the component also
        under the determinant.

        Args:
            x: points, shape (..., dim).

        Returns:
            Nats, one column a label, shape (..., k).
        """
        require_points(x, self.dim)
        energies = [
            mahalanobis_energy(x, mean, cholesky)
            for mean, cholesky in zip(self.means, self.cholesky, strict=True)
        ]
        offset = self.weights.log() - gaussian_log_partition(self.cholesky)  # (k,)
        return offset - torch.stack(energies, -1)

    def log_prob(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Log-density in nats: the joint, summed over the hidden label.

        Equations (3.1), (3.11), (3.13), sections 3.1 and 3.2.
        """
        return torch.logsumexp(self.log_joint(x), -1)

    def responsibilities(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch k"]:
        """Posterior probability of each label given x, γ_z = q(z | x); rows sum to one.

        Equation (3.22), section 3.2.
        """
        return torch.softmax(self.log_joint(x), -1)

    @torch.no_grad()
    def sample_joint(
        self, n: int, *, rng: torch.Generator
    ) -> tuple[Float[Tensor, "n dim"], Int64[Tensor, " n"]]:
        """Draw `n` pairs (x, z) by ancestral sampling: first the hidden label, then x given it.

        Equations (3.11), (3.12), section 3.2.

        Returns:
            x: points, shape (n, dim).
            z: label of the component each point was drawn from, shape (n,).
        """
        require_count(n, "n")
        z = torch.multinomial(self.weights.to(rng.device), n, replacement=True, generator=rng)
        x = torch.randn(n, self.dim, generator=rng, device=rng.device, dtype=self.means.dtype)
        z, x = z.to(self.means.device), x.to(self.means.device)
        for k in range(self.n_components):
            rows = z == k
            x[rows] = self.means[k] + x[rows] @ self.cholesky[k].mT
        return x, z

    def sample(self, n: int, *, rng: torch.Generator) -> Float[Tensor, "n dim"]:
        """Draw `n` independent points: ancestral sampling with the label thrown away."""
        return self.sample_joint(n, rng=rng)[0]
