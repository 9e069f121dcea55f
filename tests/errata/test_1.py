"""Corrections of chapter 1 of the lecture notes."""

import math

import numpy as np
import pytest
from scipy import stats

CENTRES, WIDTHS, WEIGHTS = np.array([-2.0, 1.5]), np.array([0.5, 1.0]), np.array([0.3, 0.7])


def density(x: np.ndarray) -> np.ndarray:
    return stats.norm.pdf(np.asarray(x)[..., None], CENTRES, WIDTHS) @ WEIGHTS


def cdf(x: np.ndarray) -> np.ndarray:
    return stats.norm.cdf(np.asarray(x)[..., None], CENTRES, WIDTHS) @ WEIGHTS


def draw(n: int, generator: np.random.Generator) -> np.ndarray:
    label = generator.choice(2, size=n, p=WEIGHTS)
    return generator.normal(CENTRES[label], WIDTHS[label])


@pytest.mark.erratum("1-2")
@pytest.mark.parametrize("n", [100, 10_000])
def test_continuous_data_approach_only_in_averages(n: int) -> None:
    """Printed: p0(x) ≈ p(x). An event tells them apart completely, however large n is.

    The corrected reading is checked on all half-lines at once; the Dvoretzky-Kiefer-Wolfowitz
    inequality bounds the false alarms of each case by 4e-7.
    """
    x = np.sort(draw(n, np.random.default_rng(n)))
    half_width = 1e-9 / n
    inside_p0 = 1.0  # "within half_width of a datum" holds for every datum
    inside_p = (cdf(x + half_width) - cdf(x - half_width)).sum()  # bounds p of the union
    assert inside_p0 - inside_p > 1 - 1e-8  # the total variation is at least this

    ranks = np.arange(1, n + 1) / n
    largest = max((ranks - cdf(x)).max(), (cdf(x) - ranks + 1 / n).max())
    assert largest < math.sqrt(math.log(2 / 4e-7) / (2 * n))


@pytest.mark.erratum("1-text")
def test_the_value_of_p_does_not_tell_what_is_in_the_picture() -> None:
    """Printed: find the x at which p(x) has the wanted value. Draw from p(x|c) instead.

    Points with one and the same value of p belong to different classes c, whereas points drawn
    from p(x|c) have class c with the frequency that Bayes' rule gives.
    """
    left = np.linspace(-3.5, -2.1, 15)
    right = np.array([_same_value_on_the_right(value) for value in density(left)])
    np.testing.assert_allclose(density(right), density(left), rtol=1e-9)
    for points, label in ((left, 0), (right, 1)):
        joint = WEIGHTS * stats.norm.pdf(points[:, None], CENTRES, WIDTHS)
        posterior = joint / joint.sum(1, keepdims=True)
        assert (posterior[:, label] > 0.9).all()

    # The two conditional distributions, mixed with p(c), are p again.
    x = np.linspace(-6, 6, 101)
    conditional = stats.norm.pdf(x[:, None], CENTRES, WIDTHS)
    np.testing.assert_allclose((WEIGHTS * conditional).sum(1), density(x), rtol=1e-14)


def _same_value_on_the_right(value: float) -> float:
    low, high = 1.5, 12.0  # the density falls from the right-hand peak outwards
    assert density(low) > value
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if density(middle) > value else (low, middle)
    return low


@pytest.mark.erratum("1-text")
def test_the_most_probable_picture_is_not_a_typical_one() -> None:
    """In 64 dimensions the mode of a normal distribution lies where no sample ever falls."""
    chance_near_mode = stats.chi2.cdf(16.0, df=64)  # length at most √64 / 2
    assert chance_near_mode == pytest.approx(1.3e-10, rel=0.05)
    assert stats.chi2.cdf(9.6**2, df=64) - stats.chi2.cdf(6.4**2, df=64) > 0.97  # √64 ± 20 %

    # Binary pixels, black with probability 0.1: the mode is white, the typical picture is not.
    log_mode, entropy = 64 * math.log(0.9), 64 * stats.entropy([0.1, 0.9])
    assert log_mode > -entropy + 10
    assert math.exp(log_mode) < 0.002
    assert stats.binom.cdf(12, 64, 0.1) - stats.binom.cdf(1, 64, 0.1) > 0.97
