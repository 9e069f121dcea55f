"""Equation of section 2.3: least divergence and largest likelihood are at the same place."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from scipy.stats import binom

from lecture_pkg.data import empirical_distribution
from lecture_pkg.evaluation import cross_entropy

DATA = np.array([0, 1, 1, 1, 2, 2, 5, 5, 6])  # two heaps: no binomial distribution fits it
OUTCOMES = np.arange(7)
GRID = np.linspace(0.01, 0.99, 393)


@pytest.mark.equation("2.14")
def test_same_place_different_values() -> None:
    p0 = np.bincount(DATA, minlength=7) / len(DATA)
    divergence = np.array([rel_entr(p0, binom.pmf(OUTCOMES, 6, t)).sum() for t in GRID])
    expectation = np.array([(p0 * binom.logpmf(OUTCOMES, 6, t)).sum() for t in GRID])
    likelihood = np.array([binom.logpmf(DATA, 6, t).mean() for t in GRID])

    np.testing.assert_allclose(expectation, likelihood, rtol=1e-12)
    assert divergence.argmin() == expectation.argmax() == likelihood.argmax()
    assert 0 < divergence.argmin() < len(GRID) - 1
    # Their sum is minus the entropy of p0, whatever θ is.
    minus_entropy = -sum(c / 9 * np.log(9 / c) for c in np.bincount(DATA) if c)
    np.testing.assert_allclose(divergence + likelihood, minus_entropy, rtol=1e-12)


@pytest.mark.equation("2.14")
def test_package_agrees_with_the_mean_over_the_data() -> None:
    p0 = empirical_distribution(torch.from_numpy(DATA)[:, None]).probability(
        torch.from_numpy(OUTCOMES)[:, None]
    )
    for t in (0.2, 0.45, 0.9):
        q = torch.from_numpy(binom.pmf(OUTCOMES, 6, t))
        assert float(-cross_entropy(p0, q / q.sum())) == pytest.approx(
            binom.logpmf(DATA, 6, t).mean(), rel=1e-12
        )
