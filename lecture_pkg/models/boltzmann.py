"""The Boltzmann machine: units that take two values, coupled in pairs."""

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from lecture_pkg._checks import (
    require_finite,
    require_floating,
    require_same_dtype,
    require_shape,
    require_tensor,
    require_unit_values,
    require_units,
)


class BoltzmannMachine(nn.Module):
    """The Gibbs-Boltzmann distribution whose energy is quadratic in its units.

    Equations (2.1), (2.25), sections 2 and 2.5:

        q(x) = exp(-E(x)) / Z,   -E(x) = Σ_{k<l} J_kl x_k x_l + Σ_k h_k x_k

    The learnable parameters are the n(n-1)/2 independent couplings, one for each pair, and the
    fields: the gradient in `couplings` is then the one of equation (2.29), each pair once.

    Args:
        J: couplings, symmetric with zero diagonal, in units of the inverse temperature.
        h: fields, of the same dtype.
        units: "spin" for x_k in {-1, +1}, "binary" for x_k in {0, 1}.

    Raises:
        ValueError: if J is not symmetric, has a diagonal, or does not match h; if an entry is
            not finite; if the units are unknown.
        TypeError: if J or h is no floating-point tensor, or their dtypes differ.
    """

    def __init__(self, J: Float[Tensor, "n n"], h: Float[Tensor, " n"], units: str = "spin"):
        super().__init__()
        _require_couplings_and_fields(J, h)
        self.units = require_units(units)
        self.couplings = nn.Parameter(J.detach()[_pairs(h)])  # (n (n-1) / 2,), row by row
        self.h = nn.Parameter(h.detach().clone())  # (n,)

    @property
    def n_units(self) -> int:
        """How many units the model has."""
        return len(self.h)

    @property
    def J(self) -> Float[Tensor, "n n"]:
        """The symmetric matrix of the couplings; differentiable in `couplings`."""
        upper = self.couplings.new_zeros(self.n_units, self.n_units)
        upper = upper.index_put(_pairs(self.h), self.couplings)
        return upper + upper.T

    def energy(self, x: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Compute the energy of every configuration.

        Equation (2.25), section 2.5.

        Args:
            x: configurations in the model's units, of any dtype.

        Returns:
            E(x), dimensionless (the inverse temperature is part of J and h).

        Raises:
            ValueError: if x has another number of units, or values outside the convention.
        """
        require_tensor(x, "x")
        require_shape(x, (*x.shape[:-1], self.n_units), "x")
        require_unit_values(x, self.units, "x")
        x = x.to(self.h.dtype)
        return -(x @ self.h + ((x @ self.J) * x).sum(-1) / 2)

    def to_units(self, units: str) -> tuple["BoltzmannMachine", Float[Tensor, ""]]:
        """Write the same distribution in the other unit convention, s = 2x - 1.

        Section 2.5. With s for spins and x for binary units,

            J_x = 4 J_s,   h_x = 2 h_s - 2 J_s 1,   E_s(s) = E_x(x) - Σ_{k<l} J_s + Σ_k h_s.

        Args:
            units: the convention wanted, "spin" or "binary".

        Returns:
            The model in those units, and the offset such that the energy of a configuration in
            this model is its energy in the new model plus the offset. Therefore log Z of this
            model is log Z of the new model minus the offset.
        """
        require_units(units)
        J, h = self.J.detach(), self.h.detach()
        if units == self.units:
            return BoltzmannMachine(J, h, units), h.new_zeros(())
        if units == "binary":
            offset = h.sum() - J.sum() / 2
            return BoltzmannMachine(4 * J, 2 * h - 2 * J.sum(1), units), offset
        offset = -h.sum() / 2 - J.sum() / 8
        return BoltzmannMachine(J / 4, h / 2 + J.sum(1) / 4, units), offset

    def extra_repr(self) -> str:
        """Show the size and the convention when the model is printed."""
        return f'n_units={self.n_units}, units="{self.units}"'


def _pairs(h: Tensor) -> tuple[Tensor, ...]:
    """Index the entries k < l of a matrix, row by row."""
    return torch.triu_indices(len(h), len(h), offset=1, device=h.device).unbind()


def _require_couplings_and_fields(J: Tensor, h: Tensor) -> None:
    require_floating(J, "J")
    require_floating(h, "h")
    require_shape(h, (None,), "h")
    n = len(h)
    if n == 0:
        raise ValueError("h must hold one field for each unit, but it is empty.")
    require_shape(J, (n, n), "J")
    require_same_dtype(J=J, h=h)
    require_finite(J, "J")
    require_finite(h, "h")
    if bool((J.diagonal() != 0).any()):
        raise ValueError(
            "J must have a zero diagonal, but it couples a unit with itself; remove it with "
            "J - torch.diag(J.diagonal()): for spins it adds a constant to the energy, "
            "for binary units it belongs to the fields, h + J.diagonal()."
        )
    J = J.detach()
    asymmetry = float((J - J.T).abs().max())
    if asymmetry > 1e-6 * float(J.abs().max()):
        raise ValueError(
            f"J must be symmetric, but J and its transpose differ by up to {asymmetry:.3g}; if J "
            "holds every pair once, pass J + J.T, otherwise (J + J.T) / 2."
        )
