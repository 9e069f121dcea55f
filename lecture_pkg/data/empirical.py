"""The empirical distribution: all that is known about p before a model is chosen."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from lecture_pkg._checks import require_count, require_finite, require_shape, require_tensor


@dataclass(frozen=True, eq=False)
class EmpiricalDistribution:
    """p0(x) = (1/n) Σ_i δ(x - x_i) of discrete data: distinct rows with their counts.

    Equation (1.1), section 1. Made by `empirical_distribution`.

    Attributes:
        support: the distinct samples, in lexicographic order.
        counts: how often each was seen.
    """

    support: Shaped[Tensor, "distinct dim"]
    counts: Int64[Tensor, " distinct"]

    @property
    def probabilities(self) -> Float[Tensor, " distinct"]:
        """The weight of each row of `support`; float64 unless the data are floating-point."""
        dtype = self.support.dtype if self.support.is_floating_point() else torch.float64
        return self.counts.to(dtype) / self.counts.sum()

    def probability(self, x: Shaped[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Return p0 at each row of `x`, zero where no sample fell.

        Equation (1.1), section 1. Over all states of a small model this is the vector that a
        divergence from the model's probabilities needs.

        Raises:
            TypeError: if `x` is not a tensor.
            ValueError: if the rows have another length than the data, or are not finite.
        """
        x = _require_rows(x, "x")
        require_shape(x, (None, self.support.shape[1]), "x")
        support = self.support
        if support.is_floating_point():
            x = x.to(support.dtype)
        else:  # 0.5 is no integer: it must not be cut off to one
            support = support.to(torch.promote_types(support.dtype, x.dtype))
        rows, label = torch.unique(torch.cat([support, x]), dim=0, return_inverse=True)
        weight = self.probabilities.new_zeros(len(rows))
        weight[label[: len(self.support)]] = self.probabilities
        return weight[label[len(self.support) :]]

    def sample(self, n: int, *, rng: torch.Generator) -> Shaped[Tensor, "n dim"]:
        """Draw `n` samples with replacement: each datum with weight 1/n, that is, a bootstrap.

        Args:
            n: number of draws.
            rng: source of randomness, on the device of the data.

        Raises:
            TypeError: if `n` is not an integer.
            ValueError: if `n` is less than one.
        """
        require_count(n, "n")
        # Integers below the total, located among the cumulative counts: exact weights.
        cumulative = self.counts.cumsum(0)
        total = int(cumulative[-1])
        draws = torch.randint(total, (n,), generator=rng, device=self.counts.device)
        return self.support[torch.searchsorted(cumulative, draws, right=True)]

    def expectation(
        self, f: Callable[[Shaped[Tensor, "distinct dim"]], Shaped[Tensor, "distinct *value"]]
    ) -> Float[Tensor, "*value"]:
        """Return Σ_x p0(x) f(x), the mean of f over the data.

        Args:
            f: takes the rows of `support` and returns one value (of any shape) for each.

        Raises:
            ValueError: if `f` does not return one value for each row.
        """
        values = require_tensor(f(self.support), "f(support)")
        if values.dim() == 0 or len(values) != len(self.support):
            raise ValueError(
                f"f must return one value for each of the {len(self.support)} rows, but the shape "
                f"of its result is {tuple(values.shape)}; keep the leading dimension."
            )
        dtype = torch.promote_types(values.dtype, self.probabilities.dtype)
        return torch.tensordot(self.probabilities.to(dtype), values.to(dtype), dims=1)


def empirical_distribution(x: Shaped[Tensor, "n dim"]) -> EmpiricalDistribution:
    """Return the empirical distribution of the samples, equal rows merged.

    Equation (1.1), section 1.

    Args:
        x: samples, one a row.

    Raises:
        TypeError: if `x` is not a tensor.
        ValueError: if `x` is not two-dimensional, has no rows, or is not finite.
    """
    x = _require_rows(x, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it has no rows; add data.")
    support, counts = torch.unique(x, dim=0, return_counts=True)
    return EmpiricalDistribution(support, counts)


def _require_rows(x: object, name: str) -> Tensor:
    tensor = require_tensor(x, name)
    require_shape(tensor, (None, None), name)
    require_finite(tensor, name)
    # -0.0 equals 0.0 but sorts and compares apart bit by bit; adding zero makes them one.
    return tensor + 0.0 if tensor.is_floating_point() else tensor
