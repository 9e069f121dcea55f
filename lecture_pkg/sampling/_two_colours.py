"""The two colours of a square lattice, and what kernels that update one colour at a time share.

On a chessboard every neighbour of a white field is black. So all spins of one colour are
independent of each other while the other colour is held, and can be updated all at once.

The spins of one colour lie in rows of half the width. Spin q of row i stands in column
2q + p, where p = (i + colour) mod 2, and its four neighbours in the array of the other colour
are: the entry at the same place, the one before (p = 0) or after (p = 1) it in the row, and the
ones at the same place of the next and the previous row.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_floating,
    require_same_dtype,
    require_shape,
    require_tensor,
    require_unit_values,
)
from lecture_pkg._states import enumerate_states
from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.sampling._ladder import require_betas
from lecture_pkg.sampling._pairwise import flipped_index
from lecture_pkg.sampling.kernel import InverseTemperature

_LARGEST_MATRIX = 12  # spins of a transition matrix
_LONG_ROW = 32  # below, one gather is faster than operations on short rows


class TwoColours:
    """The places of the spins of an even lattice, and of their neighbours, by colour."""

    def __init__(self, shape: tuple[int, int]):
        rows, columns = shape
        if rows % 2 or columns % 2:
            raise ValueError(
                f"a periodic lattice of two colours needs even sides, but it has {rows} rows and "
                f"{columns} columns: neighbours across the border would have one colour; add a "
                "row or a column, or use Metropolis or HeatBath on lattice.to_boltzmann_machine()."
            )
        self.shape = shape
        self._pairs = (rows // 2, 2, columns // 2, 2)
        self.row = columns // 2  # the distance of two rows in the array of one colour
        site = np.arange(rows * columns).reshape(shape)
        i, q = np.divmod(np.arange(rows * columns // 2), self.row)
        self.sites, self.neighbours, self.parity = [], [], []
        for colour in (0, 1):
            parity = (i + colour) % 2
            self.parity.append(parity)
            self.sites.append(site[i, 2 * q + parity])
            place = i * self.row + q
            side = i * self.row + (q + 2 * parity - 1) % self.row
            to = [place, side, (place + self.row) % len(place), (place - self.row) % len(place)]
            self.neighbours.append(np.stack(to))

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the spins of each colour, (..., n/2), contiguous."""
        pairs = x.reshape(*x.shape[:-1], *self._pairs)  # pairs of rows, pairs of columns
        colours = []
        for colour in (0, 1):
            spins = np.empty(pairs.shape[:-1], x.dtype)
            spins[..., 0, :] = pairs[..., 0, :, colour]
            spins[..., 1, :] = pairs[..., 1, :, 1 - colour]
            colours.append(spins.reshape(*x.shape[:-1], -1))
        return colours

    def join(self, colours: list[np.ndarray]) -> np.ndarray:
        """Undo `split`."""
        batch = colours[0].shape[:-1]
        pairs = np.empty((*batch, *self._pairs), colours[0].dtype)
        for colour, spins in enumerate(colours):
            by_row = spins.reshape(*batch, *self._pairs[:-1])
            pairs[..., 0, :, colour] = by_row[..., 0, :]
            pairs[..., 1, :, 1 - colour] = by_row[..., 1, :]
        return pairs.reshape(*batch, -1)

    def bonds(self, lattice: IsingLattice) -> list[np.ndarray]:
        """Return, for each colour, the bonds to the neighbours in the order of `combine`."""
        right, down = (b.detach().cpu().numpy() for b in (lattice.right, lattice.down))
        to = [right, np.roll(right, 1, 1), down, np.roll(down, 1, 0)]  # right, left, down, up
        bonds = []
        for sites, parity in zip(self.sites, self.parity, strict=True):
            on_right, on_left, below, above = (b.reshape(-1)[sites] for b in to)
            same = np.where(parity == 0, on_right, on_left)
            side = np.where(parity == 0, on_left, on_right)
            bonds.append(np.stack([same, side, below, above]))
        return bonds

    def combine(
        self,
        operation: np.ufunc,
        other: np.ndarray,
        bonds: np.ndarray,
        colour: int,
        out: np.ndarray,
    ) -> np.ndarray:
        """Apply `operation` to each of the four neighbours and its bond.

        Args:
            other: the spins of the other colour, (words, n/2).
            bonds: (4, n/2), from `bonds`.
            colour: the colour that is updated.
            out: receives the four results, (4, words, n/2).
        """
        row = self.row
        operation(other, bonds[0], out=out[0])
        if row < _LONG_ROW:
            np.take(other, self.neighbours[colour][1], axis=1, out=out[1], mode="clip")
            operation(out[1], bonds[1], out=out[1])
        else:
            by_row = (len(other), -1, row)
            spins, result = other.reshape(by_row), out[1].reshape(by_row)
            bond = bonds[1].reshape(-1, row)
            for rows, here, there in (
                (slice(colour, None, 2), slice(1, None), slice(None, -1)),  # p = 0: the one before
                (slice(colour, None, 2), slice(0, 1), slice(-1, None)),
                (slice(1 - colour, None, 2), slice(None, -1), slice(1, None)),  # p = 1
                (slice(1 - colour, None, 2), slice(-1, None), slice(0, 1)),
            ):
                operation(spins[:, rows, there], bond[rows, here], out=result[:, rows, here])
        operation(other[:, row:], bonds[2, :-row], out=out[2][:, :-row])
        operation(other[:, :row], bonds[2, -row:], out=out[2][:, -row:])
        operation(other[:, :-row], bonds[3, row:], out=out[3][:, row:])
        operation(other[:, -row:], bonds[3, :row], out=out[3][:, :row])
        return out


class LatticeKernel:
    """What the kernels of an even square lattice share; see `Kernel`.

    The path is q_β(x) ∝ exp(-β E(x)). A sweep updates first all spins whose row and column have an
    even sum, then the others. The whole sweep leaves q_β invariant, without detailed balance.
    """

    def __init__(self, lattice: IsingLattice):
        if not isinstance(lattice, IsingLattice):
            raise TypeError(
                f"lattice must be an IsingLattice, but a {type(lattice).__name__} was given; use "
                "Metropolis or HeatBath for a BoltzmannMachine."
            )
        self.model = lattice
        self.units = lattice.units
        self.colours = TwoColours(lattice.shape)

    @property
    def n_units(self) -> int:
        """How many spins the lattice has."""
        return self.model.n_units

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the lattice."""
        return self.model.h.dtype

    def initial(self, n_chains: int, *, rng: torch.Generator) -> Float[Tensor, "chains n"]:
        """Draw independent chains from q_0: every spin up or down with equal chances."""
        require_count(n_chains, "n_chains")
        shape = (n_chains, self.n_units)
        return (2 * torch.randint(2, shape, generator=rng) - 1).to(self.dtype)

    def initial_log_partition(self) -> Float[Tensor, ""]:
        """Compute ln Z_0 = n ln 2."""
        return torch.tensor(self.n_units * math.log(2), dtype=torch.float64)

    @torch.no_grad()
    def energy(
        self, x: Float[Tensor, "chains n"], beta: InverseTemperature = 1.0
    ) -> Float[Tensor, " chains"]:
        """Compute E(x), whatever β is."""
        return self.model.energy(x)

    @torch.no_grad()
    def work(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature,
        beta_next: InverseTemperature,
    ) -> Float[Tensor, " chains"]:
        """Compute (β' - β) E(x)."""
        energy = self.model.energy(x)
        return (_per_chain(beta_next, energy) - _per_chain(beta, energy)) * energy

    @torch.no_grad()
    def sweep(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature = 1.0,
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains n"]:
        """Update every spin once, first one colour, then the other.

        Raises:
            TypeError: if x is not of the lattice's dtype.
            ValueError: if x does not fit the lattice, or beta is negative, not finite, or neither
                one number nor one for each chain.
        """
        betas = torch.as_tensor(beta, dtype=torch.float64).reshape(1, -1)
        if betas.shape[1] not in (1, len(x)) or not bool(((betas >= 0) & betas.isfinite()).all()):
            raise ValueError(
                "beta must be one inverse temperature, or one for each chain, none of them "
                f"negative or infinite, but for {len(x)} chains it is {beta}."
            )
        return self._run(x, betas, rng)

    @torch.no_grad()
    def anneal(
        self,
        x: Float[Tensor, "chains n"],
        betas: Float[Tensor, " sweeps"],
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains n"]:
        """Sweep once at each inverse temperature in turn, without unpacking in between.

        This is what is fast on large lattices: `sweep` spends about as long on bringing the spins
        into the order of the colours, and back, as on updating them.

        Args:
            x: where the chains start, spins in {-1, +1}.
            betas: the schedule, in the order of the visits; repeat a value for more sweeps at it.
            rng: draws the seed of a NumPy stream, once.

        Raises:
            TypeError: if x or betas is no floating-point tensor, or x not of the lattice's dtype.
            ValueError: if betas is empty, negative or not finite; if x does not fit the lattice.
        """
        require_unit_values(require_tensor(x, "x"), self.units, "x")
        return self._run(x, require_betas(betas, increasing=False)[:, None], rng)

    def _run(self, x: Tensor, betas: Tensor, rng: torch.Generator) -> Tensor:
        require_floating(x, "x")
        require_shape(x, (None, self.n_units), "x")
        require_same_dtype(x=x, lattice=self.model.h)
        array = self._sweeps(x.cpu().numpy(), betas.cpu().numpy(), numpy_generator(rng))
        return torch.from_numpy(array).to(x)

    def _sweeps(
        self, x: np.ndarray, betas: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Sweep the chains once at each row of betas, (sweeps, chains) or (sweeps, 1)."""
        raise NotImplementedError

    def _flip_probability(self, energy_change: Tensor, beta: float) -> Tensor:
        """Return the probability of a flip that costs this much energy, in float64."""
        raise NotImplementedError

    @torch.no_grad()
    def transition_matrix(self, beta: float = 1.0) -> Float[Tensor, "states states"]:
        """Compute w(x|x') of one sweep exactly, one spin after another; at most 12 spins.

        Spins of one colour do not feel each other, so that updating them in turn is the same as
        updating them at once.
        """
        n = self.n_units
        if n > _LARGEST_MATRIX:
            raise ValueError(
                f"the matrix of {n} spins would have 4^{n} entries; at most {_LARGEST_MATRIX} "
                "spins are supported, for example a lattice of 2 x 4."
            )
        states = enumerate_states(0, 2**n, n, self.units)
        w = torch.eye(2**n, dtype=torch.float64)
        model = IsingLattice(
            *(t.double() for t in (self.model.right, self.model.down, self.model.h))
        )
        energy = model.energy(states)
        for site in (int(s) for sites in self.colours.sites for s in sites):
            flipped = flipped_index(n, site)
            flip = self._flip_probability(energy[flipped] - energy, beta)[:, None]
            w = (1 - flip) * w + (flip * w)[flipped]
        return w


def _per_chain(beta: InverseTemperature, energy: Tensor) -> Tensor:
    return torch.as_tensor(beta, dtype=energy.dtype, device=energy.device)


def numpy_generator(rng: torch.Generator) -> np.random.Generator:
    """Start a NumPy stream from a seed that `rng` draws: NumPy's words are made much faster."""
    seed = torch.randint(2**62, (2,), generator=rng, device=rng.device)
    return np.random.Generator(np.random.SFC64(seed.tolist()))
