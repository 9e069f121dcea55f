"""The Metropolis method: propose a single flip, accept it with min(1, e^{-ΔE})."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg.sampling._single_site import SingleSiteKernel


class Metropolis(SingleSiteKernel):
    """Single flips accepted with probability min(1, exp(-ΔE)); see `Kernel`.

    Equation (5.18), section 5.2. Every update satisfies detailed balance. With scan="random" so
    does the sweep; with scan="sequential" the sweep keeps the distribution, but not detailed
    balance, because the updates of different units do not commute.

    A flip that costs nothing is always made. At β = 0 without reference the sequential sweep
    therefore only reverses all units, again and again; and where many flips leave the energy as
    it is, as on a ring of equal couplings without field, it may be trapped at any β. Use
    `HeatBath`, or scan="random", where such chains must mix.

    Args:
        model: its parameters are read at each call, so that a kernel follows the learning. An RBM
            is taken as the Boltzmann machine over all its units, visible first; an IsingLattice as
            one with all couplings, where `Checkerboard` is the fast kernel.
        scan: "sequential" updates the units in order, "random" lets every chain draw the unit of
            each of its n updates. The sequential sweep is the fast one.
        reference: the field a on all units, shape (n_units,).

    Raises:
        TypeError: if the model's units do not couple in pairs, or reference has another dtype.
        ValueError: if scan is unknown, or reference does not fit the model or is not finite.

    Reference: Metropolis et al. (1953).
    """

    @staticmethod
    def flip_probability(log_ratio: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Compute min(1, exp(log_ratio)), where log_ratio = -ΔE. Equation (5.18), section 5.2."""
        return torch.exp(log_ratio.clamp(max=0))

    @staticmethod
    def _noise(uniform: np.ndarray, side: np.ndarray) -> np.ndarray:
        """Flip where side · log-odds < -ln(1 - u): a push against the present value."""
        noise = np.log(1 - uniform)
        noise *= side
        return noise
