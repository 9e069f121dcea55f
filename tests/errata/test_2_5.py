"""Corrections of section 2.5 of the lecture notes."""

import itertools
import math

import pytest


@pytest.mark.erratum("2-25")
def test_a_configuration_is_an_element_and_each_pair_counts_once() -> None:
    """Printed: x = {-1, 1}^N, and Σ_{k≠l}, which without the remark below it counts pairs twice."""
    configurations = set(itertools.product([-1, 1], repeat=3))
    x = (1, -1, 1)
    assert x in configurations
    assert x != configurations
    J = {(0, 1): 0.7, (0, 2): -0.3, (1, 2): 1.1}
    once = sum(J[k, m] * x[k] * x[m] for k, m in J)
    over_unequal_indices = sum(
        J[min(k, m), max(k, m)] * x[k] * x[m] for k, m in itertools.permutations(range(3), 2)
    )
    assert over_unequal_indices == pytest.approx(2 * once)
    # Only the single count makes the slope in J_kl the correlation of (2.29).
    step = 1e-6

    def log_z(j01: float, times: int) -> float:
        couplings = {**J, (0, 1): j01}
        return math.log(
            sum(
                math.exp(times * sum(c * s[k] * s[m] for (k, m), c in couplings.items()))
                for s in configurations
            )
        )

    def correlation(times: int) -> float:
        weights = {
            s: math.exp(times * sum(c * s[k] * s[m] for (k, m), c in J.items()))
            for s in configurations
        }
        return sum(w * s[0] * s[1] for s, w in weights.items()) / sum(weights.values())

    slopes = {
        times: (log_z(0.7 + step, times) - log_z(0.7 - step, times)) / (2 * step)
        for times in (1, 2)
    }
    assert slopes[1] == pytest.approx(correlation(1), abs=1e-8)
    assert slopes[2] == pytest.approx(2 * correlation(2), abs=1e-8)
    assert abs(slopes[2] - correlation(2)) > 0.1
