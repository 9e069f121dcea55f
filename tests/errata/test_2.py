"""Corrections of the opening of chapter 2 of the lecture notes."""

import numpy as np
import pytest

GRID = np.linspace(-6, 6, 241)
THETAS = np.linspace(-1, 3, 9)  # θ = -1 is the reference


def rank_of_log_ratios(log_weights: np.ndarray) -> int:
    """Rank of ln q_θ(x) - ln q_θ0(x) over θ and x, after removing what does not depend on x.

    For an exponential family -E = θ·T(x) + b(x) it is at most the number of entries of T, however
    many θ are taken.
    """
    log_q = log_weights - np.logaddexp.reduce(log_weights, axis=1, keepdims=True)
    ratios = log_q - log_q[0]
    ratios = ratios[1:] - ratios[1:, :1]
    return int(np.linalg.matrix_rank(ratios, rtol=1e-9))


def normal(centre: np.ndarray) -> np.ndarray:
    return -0.5 * (GRID - centre[:, None]) ** 2


@pytest.mark.erratum("2-1")
def test_the_gibbs_boltzmann_form_alone_is_no_exponential_family() -> None:
    """Printed: distributions of the form exp(-E)/Z are called an exponential family.

    All three are of that form on a grid of 241 states; only an energy linear in its parameters
    (after a change of parameters) keeps the rank bounded by the number of statistics.
    """
    fixed = normal(np.array([-1.0]))
    mixture = np.logaddexp(normal(THETAS), fixed)
    cauchy = -np.log(1 + (GRID - THETAS[:, None]) ** 2)
    assert rank_of_log_ratios(mixture) == len(THETAS) - 1
    assert rank_of_log_ratios(cauchy) == len(THETAS) - 1
    for n in (17, 25):  # and it keeps growing with the number of parameter values
        more = np.linspace(-1, 3, n)
        few, many = cauchy, -np.log(1 + (GRID - more[:, None]) ** 2)
        assert rank_of_log_ratios(many) > rank_of_log_ratios(few)

    assert rank_of_log_ratios(normal(THETAS)) == 1  # one statistic, x
    widths = np.linspace(0.5, 2, 9)
    assert rank_of_log_ratios(normal(THETAS) / widths[:, None] ** 2) == 2  # x and x²
    curved = np.sin(THETAS)[:, None] * GRID + THETAS[:, None] ** 3 * np.cos(GRID)
    assert rank_of_log_ratios(curved) == 2  # linear after a change of parameters
