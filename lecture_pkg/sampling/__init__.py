"""How to draw from a model: Markov kernels, tempering, annealing."""

from lecture_pkg.sampling.annealing import Annealing, simulated_annealing
from lecture_pkg.sampling.block_gibbs import BlockGibbs
from lecture_pkg.sampling.diagnostics import (
    autocorrelation_time,
    effective_sample_size,
    r_hat,
    standard_error,
)
from lecture_pkg.sampling.heat_bath import HeatBath
from lecture_pkg.sampling.kernel import Kernel
from lecture_pkg.sampling.level_weights import (
    WeightAdaptation,
    adapt_tempering_weights,
    tempering_weights,
)
from lecture_pkg.sampling.metropolis import Metropolis
from lecture_pkg.sampling.suwa_todo import SuwaTodo
from lecture_pkg.sampling.tempering import Tempering, TemperingState, simulated_tempering

__all__ = [
    "Annealing",
    "BlockGibbs",
    "HeatBath",
    "Kernel",
    "Metropolis",
    "SuwaTodo",
    "Tempering",
    "TemperingState",
    "WeightAdaptation",
    "adapt_tempering_weights",
    "autocorrelation_time",
    "effective_sample_size",
    "r_hat",
    "simulated_annealing",
    "simulated_tempering",
    "standard_error",
    "tempering_weights",
]
