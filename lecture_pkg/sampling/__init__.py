"""How to draw from a model: Markov kernels, tempering, annealing."""

from lecture_pkg.sampling.block_gibbs import BlockGibbs
from lecture_pkg.sampling.kernel import Kernel

__all__ = ["BlockGibbs", "Kernel"]
