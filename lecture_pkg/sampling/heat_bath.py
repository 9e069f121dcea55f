"""The heat bath, Gibbs sampling of one unit: draw it anew from its conditional distribution."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lecture_pkg.sampling._single_site import SingleSiteKernel


class HeatBath(SingleSiteKernel):
    """Every update draws one unit from q_β(x_i | the others); see `Kernel`.

    Equations (7.13), (7.15), section 7.2. The value drawn does not depend on the present one.
    Every update satisfies detailed balance. With scan="random" so does the sweep; with
    scan="sequential" the sweep keeps the distribution, but not detailed balance.

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

    Reference: Glauber (1963), Geman and Geman (1984).
    """

    @staticmethod
    def flip_probability(log_ratio: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Compute the share of the flipped state. Equation (7.16), section 7.2."""
        return log_ratio.sigmoid()

    @staticmethod
    def _noise(uniform: np.ndarray, side: np.ndarray) -> np.ndarray:
        """Compute -logit(u): logistic noise, with half a step of u where u is zero."""
        return np.log((1 - uniform) / (uniform + np.finfo(uniform.dtype).eps / 4))
