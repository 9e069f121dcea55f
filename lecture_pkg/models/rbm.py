"""The restricted Boltzmann machine: visible and hidden units, coupled only across the layers."""

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn
from torch.nn.functional import softplus

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_same_dtype,
    require_shape,
    require_tensor,
    require_unit_values,
    require_units,
)
from lecture_pkg.models.boltzmann import BoltzmannMachine


def log_sum_over_unit(field: Float[Tensor, "*shape"], units: str) -> Float[Tensor, "*shape"]:
    """Compute ln Σ_u exp(u · field) over the two values u of a unit.

    Section 4. It is ln 2cosh(field) for spins and softplus(field) for binary units, written so
    that no exponential overflows.
    """
    if units == "spin":
        return field.abs() + softplus(-2 * field.abs())
    return softplus(field, threshold=40)  # torch's own, 20, leaves an error of e^-20


def mean_of_unit(field: Float[Tensor, "*shape"], units: str) -> Float[Tensor, "*shape"]:
    """Compute the mean of a unit in a field: tanh for spins, the sigmoid for binary units.

    Section 4. The average over the unit's two values, weighted by exp(u · field).
    """
    return field.tanh() if units == "spin" else field.sigmoid()


def sample_unit(
    field: Float[Tensor, "*shape"], units: str, *, rng: torch.Generator
) -> Float[Tensor, "*shape"]:
    """Draw every unit in its field from one uniform number each, all in parallel.

    Section 4: the upper value is taken where the uniform number is below its probability.
    """
    upper = (2 * field if units == "spin" else field).sigmoid()
    uniform = torch.rand(field.shape, generator=rng, dtype=field.dtype, device=field.device)
    drawn = uniform.lt_(upper)  # one or zero in place of each uniform number
    return drawn.mul_(2).sub_(1) if units == "spin" else drawn


class RBM(nn.Module):
    """The distribution of visible units x and hidden units z without couplings inside a layer.

    Equations (4.1), (4.3), section 4:

        q(x, z) = exp(-E(x, z)) / Z,   -E(x, z) = xᵀ W z + bᵀ x + cᵀ z

    The learnable parameters are `W` (n_visible, n_hidden), `b` (n_visible,) and `c` (n_hidden,).

    Args:
        n_visible: number of visible units.
        n_hidden: number of hidden units.
        units: "spin" for units in {-1, +1}, "binary" for {0, 1}; the same in both layers.
        rng: draws W from a normal distribution; without it all parameters are zero.
        scale: standard deviation of W. Small weights leave the hidden units undecided, and the
            random signs let them go different ways.
        dtype: floating-point type of the parameters; torch's default without it.

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is below one, or the units are unknown.
    """

    def __init__(
        self,
        n_visible: int,
        n_hidden: int,
        units: str = "spin",
        *,
        rng: torch.Generator | None = None,
        scale: float = 0.01,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        require_count(n_visible, "n_visible")
        require_count(n_hidden, "n_hidden")
        self.units = require_units(units)
        W = torch.zeros(n_visible, n_hidden, dtype=dtype)
        if rng is not None:
            W.normal_(0.0, scale, generator=rng)
        self.W = nn.Parameter(W)
        self.b = nn.Parameter(torch.zeros(n_visible, dtype=dtype))
        self.c = nn.Parameter(torch.zeros(n_hidden, dtype=dtype))

    @classmethod
    def from_parameters(
        cls,
        W: Float[Tensor, "visible hidden"],
        b: Float[Tensor, " visible"],
        c: Float[Tensor, " hidden"],
        units: str = "spin",
    ) -> "RBM":
        """Build the model from its weights and biases, which are copied.

        Raises:
            TypeError: if one of them is no floating-point tensor, or their dtypes differ.
            ValueError: if the shapes do not fit, or an entry is not finite.
        """
        for name, value in (("W", W), ("b", b), ("c", c)):
            require_floating(value, name)
            require_finite(value, name)
        require_same_dtype(W=W, b=b, c=c)
        require_shape(W, (None, None), "W")
        require_shape(b, (W.shape[0],), "b")
        require_shape(c, (W.shape[1],), "c")
        model = cls(W.shape[0], W.shape[1], units, dtype=W.dtype).to(W.device)
        with torch.no_grad():
            model.W.copy_(W)
            model.b.copy_(b)
            model.c.copy_(c)
        return model

    @property
    def n_visible(self) -> int:
        """How many visible units the model has."""
        return self.W.shape[0]

    @property
    def n_hidden(self) -> int:
        """How many hidden units the model has."""
        return self.W.shape[1]

    def energy(
        self, x: Real[Tensor, "*batch visible"], z: Real[Tensor, "*batch hidden"]
    ) -> Float[Tensor, "*batch"]:
        """Compute the energy of every joint configuration.

        Equation (4.1), section 4.

        Args:
            x: visible configurations in the model's units, of any dtype.
            z: hidden configurations in the model's units, of any dtype.

        Returns:
            E(x, z), dimensionless (the inverse temperature is part of the parameters).

        Raises:
            ValueError: if a layer has another number of units, or values outside the convention.
        """
        x, z = self._layer(x, self.n_visible, "x"), self._layer(z, self.n_hidden, "z")
        return -(((x @ self.W) * z).sum(-1) + x @ self.b + z @ self.c)

    def free_energy(self, x: Real[Tensor, "*batch visible"]) -> Float[Tensor, "*batch"]:
        """Compute -ln Σ_z exp(-E(x, z)): q(x) = exp(-free_energy(x)) / Z.

        Equation (4.5), section 4. Errors are those of `energy`.
        """
        x = self._layer(x, self.n_visible, "x")
        return -(x @ self.b + log_sum_over_unit(x @ self.W + self.c, self.units).sum(-1))

    def hidden_free_energy(self, z: Real[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch"]:
        """Compute -ln Σ_x exp(-E(x, z)): q(z) = exp(-hidden_free_energy(z)) / Z.

        Equation (4.4), section 4. Errors are those of `energy`.
        """
        z = self._layer(z, self.n_hidden, "z")
        return -(z @ self.c + log_sum_over_unit(z @ self.W.T + self.b, self.units).sum(-1))

    def mean_hidden(self, x: Real[Tensor, "*batch visible"]) -> Float[Tensor, "*batch hidden"]:
        """Compute E[z | x], unit by unit. Equation (4.7), section 4."""
        x = self._layer(x, self.n_visible, "x")
        return mean_of_unit(x @ self.W + self.c, self.units)

    def mean_visible(self, z: Real[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch visible"]:
        """Compute E[x | z], unit by unit. Equation (4.6), section 4."""
        z = self._layer(z, self.n_hidden, "z")
        return mean_of_unit(z @ self.W.T + self.b, self.units)

    @torch.no_grad()
    def sample_hidden(
        self, x: Real[Tensor, "*batch visible"], *, rng: torch.Generator
    ) -> Float[Tensor, "*batch hidden"]:
        """Draw z from q(z | x), all units in parallel. Equation (4.7), section 4."""
        x = self._layer(x, self.n_visible, "x")
        return sample_unit(x @ self.W + self.c, self.units, rng=rng)

    @torch.no_grad()
    def sample_visible(
        self, z: Real[Tensor, "*batch hidden"], *, rng: torch.Generator
    ) -> Float[Tensor, "*batch visible"]:
        """Draw x from q(x | z), all units in parallel. Equation (4.6), section 4."""
        z = self._layer(z, self.n_hidden, "z")
        return sample_unit(z @ self.W.T + self.b, self.units, rng=rng)

    def to_boltzmann_machine(self) -> BoltzmannMachine:
        """Return the same distribution over all units, visible first, as one Boltzmann machine.

        Section 4: the couplings form the block matrix with W and Wᵀ off the diagonal, the fields
        are b followed by c, and the energies agree.
        """
        W = self.W.detach()
        J = W.new_zeros(2 * (sum(W.shape),))
        J[: self.n_visible, self.n_visible :] = W
        J[self.n_visible :, : self.n_visible] = W.T
        return BoltzmannMachine(J, torch.cat([self.b.detach(), self.c.detach()]), self.units)

    def to_units(self, units: str) -> tuple["RBM", Float[Tensor, ""]]:
        """Write the same distribution in the other unit convention, s = 2x - 1.

        Section 4. With the index s for spins and x for binary units,

            W_x = 4 W_s,   b_x = 2 b_s - 2 W_s 1,   c_x = 2 c_s - 2 W_sᵀ 1.

        Args:
            units: the convention wanted, "spin" or "binary".

        Returns:
            The model in those units, and the offset such that the energy of a configuration in
            this model is its energy in the new model plus the offset. Therefore log Z of this
            model is log Z of the new model minus the offset.
        """
        require_units(units)
        W, b, c = self.W.detach(), self.b.detach(), self.c.detach()
        if units == self.units:
            return RBM.from_parameters(W, b, c, units), W.new_zeros(())
        if units == "binary":
            offset = b.sum() + c.sum() - W.sum()
            rows, columns = 2 * b - 2 * W.sum(1), 2 * c - 2 * W.sum(0)
            return RBM.from_parameters(4 * W, rows, columns, units), offset
        offset = -(b.sum() + c.sum()) / 2 - W.sum() / 4
        rows, columns = b / 2 + W.sum(1) / 4, c / 2 + W.sum(0) / 4
        return RBM.from_parameters(W / 4, rows, columns, units), offset

    def extra_repr(self) -> str:
        """Show the sizes and the convention when the model is printed."""
        return f'n_visible={self.n_visible}, n_hidden={self.n_hidden}, units="{self.units}"'

    def _layer(self, values: Tensor, n: int, name: str) -> Tensor:
        require_tensor(values, name)
        require_shape(values, (*values.shape[:-1], n), name)
        require_unit_values(values, self.units, name)
        return values.to(self.W.dtype)
