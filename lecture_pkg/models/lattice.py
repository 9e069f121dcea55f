"""The Ising model on a periodic square lattice: spins, bonds to the four neighbours, fields."""

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_same_dtype,
    require_shape,
    require_tensor,
    require_unit_values,
)
from lecture_pkg.models.boltzmann import BoltzmannMachine


class IsingLattice(nn.Module):
    """Spins on a square lattice that closes on itself, each coupled with its four neighbours.

    Equation (2.25), section 2.5, where only neighbours have a coupling:

        -E(x) = Σ_{i,j} (right_ij x_ij x_{i,j+1} + down_ij x_ij x_{i+1,j} + h_ij x_ij)

    with the indices taken modulo the sides. A configuration is a row of all spins in the order
    of `flatten`, unit i·(number of columns) + j; `x.unflatten(-1, lattice.shape)` is the picture.
    On a side of two the bonds to the right and to the left join the same pair, and both count.

    Args:
        right: bonds between (i, j) and (i, j+1), in units of the inverse temperature.
        down: bonds between (i, j) and (i+1, j).
        h: fields; none without it.

    Raises:
        TypeError: if an argument is no floating-point tensor, or the dtypes differ.
        ValueError: if the shapes differ, a side is below two, or an entry is not finite.
    """

    units = "spin"

    def __init__(
        self,
        right: Float[Tensor, "rows columns"],
        down: Float[Tensor, "rows columns"],
        h: Float[Tensor, "rows columns"] | None = None,
    ):
        super().__init__()
        require_floating(right, "right")
        require_shape(right, (None, None), "right")
        if min(right.shape) < 2:
            raise ValueError(
                f"a periodic lattice needs sides of at least 2, but right has shape "
                f"{tuple(right.shape)}: a spin would be its own neighbour; use a BoltzmannMachine "
                "for a chain."
            )
        h = torch.zeros_like(right) if h is None else h
        for name, tensor in (("right", right), ("down", down), ("h", h)):
            require_floating(tensor, name)
            require_shape(tensor, tuple(right.shape), name)
            require_finite(tensor, name)
        require_same_dtype(right=right, down=down, h=h)
        self.right = nn.Parameter(right.detach().clone())  # (rows, columns)
        self.down = nn.Parameter(down.detach().clone())
        self.h = nn.Parameter(h.detach().clone())

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        rows, columns = self.right.shape
        return rows, columns

    @property
    def n_units(self) -> int:
        """How many spins the lattice has."""
        return self.right.numel()

    def energy(self, x: Real[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Compute the energy of every configuration.

        Equation (2.25), section 2.5.

        Args:
            x: spins in {-1, +1}, of any dtype.

        Returns:
            E(x), dimensionless (the inverse temperature is part of the bonds and fields).

        Raises:
            ValueError: if x has another number of spins, or other values.
        """
        require_tensor(x, "x")
        require_shape(x, (*x.shape[:-1], self.n_units), "x")
        require_unit_values(x, self.units, "x")
        x = x.to(self.h.dtype).unflatten(-1, self.shape)  # (..., rows, columns)
        field = self.right * x.roll(-1, -1) + self.down * x.roll(-1, -2) + self.h
        return -(x * field).sum((-2, -1))

    def to_boltzmann_machine(self) -> BoltzmannMachine:
        """Write the same energy with the full matrix of couplings; for lattices of some hundreds.

        Section 2.5. Unit k of the machine is entry k of a configuration of the lattice.
        """
        site = torch.arange(self.n_units).reshape(self.shape)
        J = self.h.new_zeros(self.n_units, self.n_units)
        for bonds, neighbour in (
            (self.right, site.roll(-1, 1)),
            (self.down, site.roll(-1, 0)),
        ):
            pair = (site.flatten(), neighbour.flatten())
            J.index_put_(pair, bonds.detach().flatten(), accumulate=True)
        return BoltzmannMachine(J + J.T, self.h.detach().flatten())

    def extra_repr(self) -> str:
        """Show the size when the model is printed."""
        return f"rows={self.shape[0]}, columns={self.shape[1]}"


def edwards_anderson(
    rows: int,
    columns: int | None = None,
    *,
    distribution: str = "bimodal",
    rng: torch.Generator,
    dtype: torch.dtype | None = None,
) -> IsingLattice:
    """Draw a spin glass: independent bonds of both signs, no fields.

    Reference: Edwards and Anderson (1975).

    Args:
        rows: number of rows.
        columns: number of columns; as many as rows without it.
        distribution: "bimodal" for bonds ±1 with equal chances (±J), "gaussian" for normal
            bonds of variance one.
        rng: draws the bonds.
        dtype: floating-point type; torch's default without it.

    Raises:
        TypeError: if a side is not an integer.
        ValueError: if a side is below two, or the distribution is unknown.
    """
    columns = rows if columns is None else columns
    require_count(rows, "rows", minimum=2)
    require_count(columns, "columns", minimum=2)
    shape = (2, rows, columns)
    if distribution == "bimodal":
        bonds = (2 * torch.randint(2, shape, generator=rng) - 1).to(
            dtype or torch.get_default_dtype()
        )
    elif distribution == "gaussian":
        bonds = torch.randn(shape, generator=rng, dtype=dtype)
    else:
        raise ValueError(f'distribution must be "bimodal" or "gaussian", not {distribution!r}.')
    return IsingLattice(bonds[0], bonds[1])
