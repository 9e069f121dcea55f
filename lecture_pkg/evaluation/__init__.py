"""How good a model is: entropies, divergences and likelihoods."""

from lecture_pkg.evaluation.divergence import (
    MonteCarloEstimate,
    cross_entropy,
    entropy,
    jensen_shannon,
    kl,
    kl_monte_carlo,
    total_variation,
)
from lecture_pkg.evaluation.likelihood import Score, log_odds_field, score

__all__ = [
    "MonteCarloEstimate",
    "Score",
    "cross_entropy",
    "entropy",
    "jensen_shannon",
    "kl",
    "kl_monte_carlo",
    "log_odds_field",
    "score",
    "total_variation",
]
