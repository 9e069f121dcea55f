"""Truth by enumeration: log Z, probabilities and moments.

`states`, `log_partition`, `probabilities`, `moments` and `log_likelihood` stand in `quantities`.
They visit the states in the cheapest of three ways:

- an energy of pairs, a `BoltzmannMachine`, by matrix products of three groups of units: up to
  about 40 units (`_three_way_split`);
- an `RBM` by its smaller layer, whatever the size of the larger one: up to about 30 units
  (`_smaller_layer`);
- any other `EnergyModel` state by state: up to about 25 units (`_state_by_state`).
"""

from lecture_pkg.exact.energy_model import EnergyModel
from lecture_pkg.exact.quantities import (
    Moments,
    RBMMoments,
    log_likelihood,
    log_partition,
    moments,
    probabilities,
    states,
)

__all__ = [
    "EnergyModel",
    "Moments",
    "RBMMoments",
    "log_likelihood",
    "log_partition",
    "moments",
    "probabilities",
    "states",
]
