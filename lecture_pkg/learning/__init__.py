"""How to fit a model: descent, gradient estimators and the training loop."""

from lecture_pkg.learning.descent import (
    DescentTrace,
    gradient_descent,
    largest_curvature,
    quadratic_majorizer,
)
from lecture_pkg.learning.fit import FitTrace, GradientEstimator, fit
from lecture_pkg.learning.likelihood import ExactLikelihood

__all__ = [
    "DescentTrace",
    "ExactLikelihood",
    "FitTrace",
    "GradientEstimator",
    "fit",
    "gradient_descent",
    "largest_curvature",
    "quadratic_majorizer",
]
