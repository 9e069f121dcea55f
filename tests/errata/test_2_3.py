"""Corrections of section 2.3 of the lecture notes."""

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import binom

OUTCOMES = np.arange(7)
GRID = np.linspace(0.01, 0.99, 393)
TRUTH = np.array([0.30, 0.25, 0.10, 0.05, 0.05, 0.10, 0.15])
DATA = np.array([0, 0, 1, 1, 1, 2, 3, 6])  # eight draws: p0 is not yet p


@pytest.mark.erratum("2-14")
def test_expectation_is_under_the_empirical_distribution() -> None:
    """Printed: Σ_x p(x) ln q(x) = (1/n) Σ_i ln q(x_i). The left side needs p0."""
    p0 = np.bincount(DATA, minlength=7) / len(DATA)
    under_p = np.array([(TRUTH * binom.logpmf(OUTCOMES, 6, t)).sum() for t in GRID])
    under_p0 = np.array([(p0 * binom.logpmf(OUTCOMES, 6, t)).sum() for t in GRID])
    likelihood = np.array([binom.logpmf(DATA, 6, t).mean() for t in GRID])
    assert np.median(np.abs(under_p - likelihood)) > 0.1
    assert abs(GRID[under_p.argmax()] - GRID[likelihood.argmax()]) > 0.05
    np.testing.assert_allclose(under_p0, likelihood, rtol=1e-12)


@pytest.mark.erratum("2-14")
def test_places_are_equal_and_values_are_not() -> None:
    """Printed: min D = max ln q. The values have different signs; only the places agree."""
    p0 = np.bincount(DATA, minlength=7) / len(DATA)
    divergence = np.array([rel_entr(p0, binom.pmf(OUTCOMES, 6, t)).sum() for t in GRID])
    likelihood = np.array([binom.logpmf(DATA, 6, t).mean() for t in GRID])
    assert divergence.min() > 0 > likelihood.max()
    assert divergence.argmin() == likelihood.argmax()
