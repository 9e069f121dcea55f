"""Where samples come from: laboratory sets whose truth is known, and real digits."""

from lecture_pkg.data.digits import digit_labels, digits
from lecture_pkg.data.empirical import EmpiricalDistribution, empirical_distribution
from lecture_pkg.data.laboratory import bars_and_stripes
from lecture_pkg.data.plane import PlaneDensity, gaussian_mixture_2d, ring_2d, two_spirals_2d

__all__ = [
    "EmpiricalDistribution",
    "PlaneDensity",
    "bars_and_stripes",
    "digit_labels",
    "digits",
    "empirical_distribution",
    "gaussian_mixture_2d",
    "ring_2d",
    "two_spirals_2d",
]
