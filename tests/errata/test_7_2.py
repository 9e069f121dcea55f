"""The slide on Gibbs sampling: what is printed fails, and the corrected form holds."""

import itertools
import math

import numpy as np
import pytest

STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
J = np.array([[0.0, 0.7, -0.4], [0.7, 0.0, 0.9], [-0.4, 0.9, 0.0]])
H = np.array([0.37, -0.8, 0.45])
WEIGHT = np.exp(0.5 * ((STATES @ J) * STATES).sum(1) + STATES @ H)
P = WEIGHT / WEIGHT.sum()


@pytest.mark.erratum("slide-heat-bath-minus")
def test_the_second_probability_belongs_to_the_value_minus_one() -> None:
    for site, state in itertools.product(range(3), range(8)):
        mask = 4 >> site
        up, down = state | mask, state & ~mask
        field = J[site] @ STATES[state] + H[site]
        share = {+1: P[up] / (P[up] + P[down]), -1: P[down] / (P[up] + P[down])}
        first = math.exp(field) / (2 * math.cosh(field))
        second = math.exp(-field) / (2 * math.cosh(field))
        assert share[+1] == pytest.approx(first, rel=1e-12)
        assert abs(share[+1] - second) > 0.01  # printed: P(x_i = +1 | ...) for both
        assert share[-1] == pytest.approx(second, rel=1e-12)
        assert first + second == pytest.approx(1, abs=1e-15)


def one_update(rule) -> np.ndarray:
    """A single flip of a unit drawn at random, accepted by a rule of P(x) / P(x')."""
    w = np.zeros((8, 8))
    for old in range(8):
        for site in range(3):
            w[old ^ (4 >> site), old] = rule(P[old ^ (4 >> site)] / P[old]) / 3
        w[old, old] = 1 - w[:, old].sum()
    return w


@pytest.mark.erratum("slide-ratio")
def test_the_ratio_and_conservation_do_not_fix_the_transition_probability() -> None:
    metropolis = one_update(lambda ratio: min(1.0, ratio))
    heat_bath = one_update(lambda ratio: ratio / (1 + ratio))
    for w in (metropolis, heat_bath):
        np.testing.assert_allclose(w.sum(0), 1)
        assert w.min() >= 0
        np.testing.assert_allclose(w * P, (w * P).T, atol=1e-15)  # the prescribed ratio
    assert np.abs(metropolis - heat_bath).max() > 0.1
    # In general: any symmetric flow that leaves something at home will do.
    flow = np.random.default_rng(3).random((8, 8))
    flow = flow + flow.T
    np.fill_diagonal(flow, 0)
    flow *= 0.9 * (P / flow.sum(0)).min()
    other = flow / P + np.diag(1 - flow.sum(0) / P)
    np.testing.assert_allclose(other @ P, P, atol=1e-15)
    np.testing.assert_allclose(other * P, (other * P).T, atol=1e-15)
    assert other.min() >= 0
