"""Corrections of section 2.2 of the lecture notes."""

import numpy as np
import pytest
from scipy.stats import norm

DATA = np.array([-0.9, 0.2, 0.3, 1.4, 2.6])


def summand(mean: float, variance: float) -> np.ndarray:
    """The bracket of (2.11) at every datum."""
    return (DATA - mean) ** 2 / (2 * variance) + 0.5 * np.log(variance)


def last_form(mean: float, variance: float) -> float:
    return ((DATA - mean) ** 2).mean() / (2 * variance) + 0.5 * np.log(variance)


@pytest.mark.erratum("2-10")
def test_empirical_distribution_needs_one_over_n() -> None:
    """Printed: p0(x) = Σ_i δ(x - x_i). It has mass n, and (2.11) does not follow from it."""
    printed_weights = np.ones(len(DATA))
    right_weights = printed_weights / len(DATA)
    assert printed_weights.sum() == 5
    assert right_weights.sum() == pytest.approx(1)
    for theta in [(0.0, 1.0), (0.7, 2.5)]:
        assert printed_weights @ summand(*theta) == pytest.approx(5 * last_form(*theta))
        assert printed_weights @ summand(*theta) != pytest.approx(last_form(*theta), rel=0.5)
        assert right_weights @ summand(*theta) == pytest.approx(last_form(*theta))


@pytest.mark.erratum("2-11")
def test_sign_of_the_middle_of_the_objective() -> None:
    """Printed: the integral carries a minus sign. Its minimum would be at infinity."""
    printed = {m: -summand(m, 1.5).mean() for m in (0.0, 10.0, 100.0)}
    right = {m: summand(m, 1.5).mean() for m in (0.0, 10.0, 100.0)}
    for m in printed:
        assert printed[m] != pytest.approx(last_form(m, 1.5), rel=0.5)
        assert right[m] == pytest.approx(last_form(m, 1.5))
        surprise = -norm.logpdf(DATA, m, np.sqrt(1.5)).mean()
        assert right[m] == pytest.approx(surprise - 0.5 * np.log(2 * np.pi))
    # Descent on the printed form drives the model away from the data.
    assert printed[100.0] < printed[10.0] < printed[0.0]
    assert right[100.0] > right[10.0] > right[0.0]
