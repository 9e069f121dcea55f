"""How to draw from a model: Markov kernels, tempering, annealing."""

from lecture_pkg.sampling.annealed_importance import (
    AnnealedImportanceSampling,
    annealed_importance_sampling,
    reverse_annealed_importance_sampling,
)
from lecture_pkg.sampling.annealing import Annealing, simulated_annealing
from lecture_pkg.sampling.asymptotic_variance import asymptotic_variance
from lecture_pkg.sampling.block_gibbs import BlockGibbs
from lecture_pkg.sampling.checkerboard import Checkerboard
from lecture_pkg.sampling.diagnostics import (
    autocorrelation_time,
    effective_sample_size,
    r_hat,
    standard_error,
)
from lecture_pkg.sampling.even_ladder import EvenLadder, even_acceptance_ladder
from lecture_pkg.sampling.exchange import Exchange, ExchangeState, exchange_monte_carlo
from lecture_pkg.sampling.free_energy import (
    FreeEnergyDifference,
    bennett_acceptance_ratio,
    importance_sample_size,
    jarzynski,
)
from lecture_pkg.sampling.heat_bath import HeatBath
from lecture_pkg.sampling.kernel import Kernel
from lecture_pkg.sampling.lattice_exchange import lattice_exchange_monte_carlo
from lecture_pkg.sampling.level_weights import (
    WeightAdaptation,
    adapt_tempering_weights,
    tempering_weights,
)
from lecture_pkg.sampling.metropolis import Metropolis
from lecture_pkg.sampling.multispin import MultiSpin
from lecture_pkg.sampling.population import PopulationAnnealing, population_annealing
from lecture_pkg.sampling.round_trips import RoundTrips, round_trips
from lecture_pkg.sampling.suwa_todo import SuwaTodo
from lecture_pkg.sampling.tempering import Tempering, TemperingState, simulated_tempering

__all__ = [
    "AnnealedImportanceSampling",
    "Annealing",
    "BlockGibbs",
    "Checkerboard",
    "EvenLadder",
    "Exchange",
    "ExchangeState",
    "FreeEnergyDifference",
    "HeatBath",
    "Kernel",
    "Metropolis",
    "MultiSpin",
    "PopulationAnnealing",
    "RoundTrips",
    "SuwaTodo",
    "Tempering",
    "TemperingState",
    "WeightAdaptation",
    "adapt_tempering_weights",
    "annealed_importance_sampling",
    "asymptotic_variance",
    "autocorrelation_time",
    "bennett_acceptance_ratio",
    "effective_sample_size",
    "even_acceptance_ladder",
    "exchange_monte_carlo",
    "importance_sample_size",
    "jarzynski",
    "lattice_exchange_monte_carlo",
    "population_annealing",
    "r_hat",
    "reverse_annealed_importance_sampling",
    "round_trips",
    "simulated_annealing",
    "simulated_tempering",
    "standard_error",
    "tempering_weights",
]
