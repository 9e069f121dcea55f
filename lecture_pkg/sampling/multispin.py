"""Multi-spin coding: 64 replicas of a ±J lattice updated by every logical operation."""

import numpy as np
from torch import Tensor

from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.sampling._packed import PackedLattice, bond_magnitude
from lecture_pkg.sampling._two_colours import LatticeKernel

_SPINS = 2**21  # chains are taken in blocks of about as many spins, which stay in the cache


class MultiSpin(LatticeKernel):
    """Metropolis updates of a lattice with bonds ±J and no field, one chain in every bit.

    Section 5.2. Flips of spins with three and four satisfied bonds cost 4J and 8J and are accepted
    with probabilities exp(-4βJ) and exp(-8βJ); all others are accepted. Each chain has random
    numbers of its own, so that chains are independent. Reference: Newman and Barkema (1999).

    At β = 0 a sweep turns every spin over, which leaves the uniform distribution as it is without
    ever mixing: begin a schedule a little above, or with `Checkerboard` and the heat bath.

    Args:
        lattice: both sides even, bonds of one magnitude, no fields; read at each call.

    Raises:
        TypeError: if lattice is no IsingLattice.
        ValueError: if a side is odd, the bonds differ in magnitude, or there are fields.
    """

    def __init__(self, lattice: IsingLattice):
        super().__init__(lattice)
        bond_magnitude(lattice)

    def _sweeps(
        self, x: np.ndarray, betas: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        result = np.empty_like(x)
        block = 64 * max(1, _SPINS // (64 * self.n_units))
        for start in range(0, len(x), block):
            chains = slice(start, start + block)
            packed = PackedLattice(self.model, len(x[chains]))
            spins = packed.pack(x[None, chains])
            for beta in betas[:, None, chains] if betas.shape[1] > 1 else betas[:, 0]:
                packed.sweep(spins, packed.thresholds(beta), generator)
            result[chains] = packed.unpack(spins, x.dtype)[0]
        return result

    def _flip_probability(self, energy_change: Tensor, beta: float) -> Tensor:
        return (-beta * energy_change).clamp(max=0).exp()
