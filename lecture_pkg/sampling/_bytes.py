"""A few replicas of a ±J lattice, a byte for each spin; the counterpart of `PackedLattice`."""

import numpy as np

from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.sampling._packed import bond_magnitude
from lecture_pkg.sampling._two_colours import TwoColours


class ByteLattice:
    """The same updates as those of `PackedLattice`, on int8 spins (2, n/2, lanes of all groups).

    With few lanes the bits of words stay empty and the calls cost more than the spins; so every
    constant is laid out for every spin, and an operation is one pass over contiguous bytes.
    """

    def __init__(self, lattice: IsingLattice, n_lanes: int, n_groups: int = 1):
        self.magnitude = bond_magnitude(lattice)
        self.colours = TwoColours(lattice.shape)
        self.shape = (n_groups, n_lanes)
        n_columns = n_groups * n_lanes
        self.bonds = [
            np.repeat(np.sign(bonds).astype(np.int8)[..., None], n_columns, -1)
            for bonds in self.colours.bonds(lattice)
        ]
        self._terms = np.empty((4, lattice.n_units // 2, n_columns), np.int8)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Bring spins ±1, (groups, lanes, n), into the order of the colours."""
        rows = x.reshape(-1, x.shape[-1]).astype(np.int8)
        return np.stack([np.ascontiguousarray(colour.T) for colour in self.colours.split(rows)])

    def unpack(self, spins: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Undo `pack`, to the given type."""
        return (
            self.colours.join([colour.T for colour in spins]).reshape(*self.shape, -1).astype(dtype)
        )

    def thresholds(self, beta: np.ndarray) -> np.ndarray:
        """Prepare p and p² as numbers of 64 bits for every spin, at β (groups, lanes)."""
        p = np.exp(-4 * self.magnitude * beta).reshape(-1)
        scaled = np.minimum(np.stack([p, p * p]) * 2.0**64, np.nextafter(2.0**64, 0))
        return np.repeat(scaled.astype(np.uint64)[:, None], self._terms.shape[1], 1)

    def sweep(
        self, spins: np.ndarray, thresholds: np.ndarray, generator: np.random.Generator
    ) -> None:
        """Update in place every spin of both colours once by the rule of Metropolis."""
        for colour in (0, 1):
            own = spins[colour]
            alignment = self._alignment(spins, colour)
            uniform = generator.bit_generator.random_raw(own.size).reshape(own.shape)
            overcome = (uniform < thresholds[0]).view(np.int8)
            overcome += (uniform < thresholds[1]).view(np.int8)
            overcome += overcome  # 0, 2 or 4: the largest alignment that this number flips
            sign = (alignment > overcome).view(np.int8)
            sign += sign
            sign -= 1
            own *= sign

    def energies(self, spins: np.ndarray) -> np.ndarray:
        """Compute the energies (groups, lanes) in units of J; one colour sees all bonds."""
        return -self._alignment(spins, 0).sum(0, dtype=np.int32).reshape(self.shape)

    def exchange(
        self, spins: np.ndarray, first: int, accept: np.ndarray, order: np.ndarray
    ) -> None:
        """Bring in place the lanes into the new order."""
        spins[:] = spins.take(order.reshape(-1), axis=-1)

    def _alignment(self, spins: np.ndarray, colour: int) -> np.ndarray:
        """Return satisfied minus unsatisfied bonds of every spin, -4 ... 4."""
        terms = self._terms
        neighbours = self.colours.neighbours[colour]
        np.take(spins[1 - colour], neighbours, axis=0, out=terms, mode="clip")
        terms *= self.bonds[colour]
        total = terms[0]
        for term in terms[1:]:
            total += term
        total *= spins[colour]
        return total
