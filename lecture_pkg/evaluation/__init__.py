"""How good a model is: entropies and divergences."""

from lecture_pkg.evaluation.divergence import (
    MonteCarloEstimate,
    cross_entropy,
    entropy,
    jensen_shannon,
    kl,
    kl_monte_carlo,
    total_variation,
)

__all__ = [
    "MonteCarloEstimate",
    "cross_entropy",
    "entropy",
    "jensen_shannon",
    "kl",
    "kl_monte_carlo",
    "total_variation",
]
