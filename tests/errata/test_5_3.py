"""The slides on breaking detailed balance: what is claimed without condition needs one."""

import numpy as np
import pytest

P = np.array([0.4, 0.3, 0.2, 0.1])
ONE_FLIP = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]])
ROTATION = np.array([[0, 1, 2, 1], [3, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0]]) / 10 / P


def variance(w: np.ndarray, f: np.ndarray) -> float:
    """The sum of the autocovariances at all times."""
    centred = f - P @ f
    moved = P * centred
    total = centred @ moved
    for _ in range(5000):
        moved = w @ moved
        total += 2 * centred @ moved
    return float(total)


def reversible(w: np.ndarray) -> bool:
    return bool(np.abs(w * P - (w * P).T).max() < 1e-14)


@pytest.mark.erratum("slide-dbc")
def test_breaking_detailed_balance_may_make_averages_worse() -> None:
    metropolis = ONE_FLIP / 2 * np.minimum(1, P[:, None] / P)
    metropolis += np.diag(1 - metropolis.sum(0))
    lazy = 0.95 * np.eye(4) + 0.05 * ROTATION
    for w in (metropolis, lazy):
        np.testing.assert_allclose(w @ P, P, atol=1e-15)
    assert reversible(metropolis)
    assert not reversible(lazy)
    for f in np.eye(4):
        assert variance(lazy, f) > 3 * variance(metropolis, f)  # as printed, it would be smaller


@pytest.mark.erratum("slide-dbc")
def test_with_one_symmetric_part_the_current_does_no_harm_and_may_do_no_good() -> None:
    flow = ROTATION * P
    rng = np.random.default_rng(0)
    for strength in (0.3, 0.6, 1.0):
        with_current = ((flow + flow.T) / 2 + strength * (flow - flow.T) / 2) / P
        without = (flow + flow.T) / 2 / P
        np.testing.assert_allclose(with_current @ P, P, atol=1e-15)
        for f in rng.normal(size=(20, 4)):
            assert variance(with_current, f) <= variance(without, f) + 1e-12
    # equality: g with Σ_x g(x) j(x, x') = 0 in every x', and f = (1 - w_sᵀ) g
    g = np.array([0.0, 0.0, 1.0, -1.0])  # both are fed and emptied alike by the current
    assert np.abs(g @ (flow - flow.T)).max() < 1e-15
    f = (np.eye(4) - without.T) @ g
    assert abs(variance(with_current, f) - variance(without, f)) < 1e-12
    assert variance(without, f) > 0.1
