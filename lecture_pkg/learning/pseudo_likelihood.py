"""Pseudo-likelihood: every unit predicted from all others."""

import torch
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn.functional import softplus

from lecture_pkg.learning.single_flips import write_gradient


class PseudoLikelihood:
    """Gradient of minus the log pseudo-likelihood; for `lecture_pkg.learning.fit`.

    Equation (7.10), section 7.1: the mean over the data of -Σ_k ln q(x_k | x_l, l ≠ k), for a
    `BoltzmannMachine` or the visible units of an `RBM`. Reference: Besag, The Statistician 24
    (1975) 179.
    """

    def __call__(self, model: torch.nn.Module, x: Real[Tensor, "n dim"]) -> Float[Tensor, ""]:
        """Write the gradient to `.grad` of the parameters and return the objective in nats.

        Args:
            model: the model.
            x: data in the model's units, one sample a row.

        Raises:
            TypeError: if `x` is not a tensor, or the model is of another kind.
            ValueError: if `x` is empty, does not fit the model, or is outside its units.
        """
        return write_gradient(model, x, lambda D: (softplus(D, threshold=40), D.sigmoid()))
