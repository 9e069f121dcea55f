"""How to fit a model: descent, gradient estimators and the training loop."""

from lecture_pkg.learning.contrastive_divergence import ContrastiveDivergence
from lecture_pkg.learning.descent import (
    DescentTrace,
    gradient_descent,
    largest_curvature,
    quadratic_majorizer,
)
from lecture_pkg.learning.em import (
    EMFit,
    e_step,
    evidence_lower_bound,
    fit_em,
    m_step,
    q_function,
    seed_mixture,
)
from lecture_pkg.learning.fit import FitTrace, GradientEstimator, fit
from lecture_pkg.learning.likelihood import ExactLikelihood
from lecture_pkg.learning.minimum_probability_flow import MinimumProbabilityFlow
from lecture_pkg.learning.persistent_contrastive_divergence import (
    PersistentContrastiveDivergence,
)
from lecture_pkg.learning.pseudo_likelihood import PseudoLikelihood

__all__ = [
    "ContrastiveDivergence",
    "DescentTrace",
    "EMFit",
    "ExactLikelihood",
    "FitTrace",
    "GradientEstimator",
    "MinimumProbabilityFlow",
    "PersistentContrastiveDivergence",
    "PseudoLikelihood",
    "e_step",
    "evidence_lower_bound",
    "fit",
    "fit_em",
    "gradient_descent",
    "largest_curvature",
    "m_step",
    "q_function",
    "quadratic_majorizer",
    "seed_mixture",
]
