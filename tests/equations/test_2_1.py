"""Equations of section 2.1: the Kullback-Leibler divergence and why it is never negative."""

import math

import pytest
import sympy
import torch
from scipy.special import rel_entr

from lecture_pkg.evaluation import kl


def random_pair(rng: torch.Generator, outcomes: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Two uneven distributions; p never shows the last two outcomes, q does."""
    p = torch.rand(outcomes, generator=rng, dtype=torch.float64) ** 3
    q = torch.rand(outcomes, generator=rng, dtype=torch.float64) ** 2 + 1e-3
    p[-2:] = 0.0
    return p / p.sum(), q / q.sum()


@pytest.mark.equation("2.3")
def test_divergence_is_the_mean_log_ratio(rng: torch.Generator) -> None:
    for _ in range(20):
        p, q = random_pair(rng)
        written_out = math.fsum(
            pk * math.log(pk / qk) for pk, qk in zip(p.tolist(), q.tolist(), strict=True) if pk > 0
        )
        another_library = rel_entr(p.numpy(), q.numpy()).sum()
        assert written_out == pytest.approx(another_library, rel=1e-12)
        assert float(kl(p, q)) == pytest.approx(written_out, rel=1e-12)


@pytest.mark.equation("2.3")
def test_divergence_is_the_rate_at_which_the_evidence_grows(rng: torch.Generator) -> None:
    """The mean of ln p/q over draws from p: a second meaning of the same number."""
    p, q = random_pair(rng)
    n = 100_000
    counts = torch.bincount(
        torch.multinomial(p, n, replacement=True, generator=rng), minlength=len(p)
    )
    seen = counts > 0
    log_ratio = (p[seen] / q[seen]).log()
    mean = float((counts[seen] * log_ratio).sum() / n)
    variance = float((counts[seen] * (log_ratio - mean) ** 2).sum() / n)
    # Six standard errors: a false alarm has a probability of 2e-9.
    assert abs(mean - rel_entr(p.numpy(), q.numpy()).sum()) < 6 * math.sqrt(variance / n)


@pytest.mark.equation("2.4")
def test_line_lies_above_the_logarithm_and_touches_it_once() -> None:
    x = sympy.Symbol("x", positive=True)
    gap = x - 1 - sympy.log(x)
    assert sympy.solve(sympy.diff(gap, x), x) == [1]
    assert gap.subs(x, 1) == 0
    assert sympy.diff(gap, x, 2).is_positive  # convex: the only stationary point is the minimum


@pytest.mark.equation("2.4")
def test_both_forms_of_the_inequality_agree() -> None:
    for x in [1e-8, 0.3, 0.999, 1.0, 1.001, 4.0, 1e6]:
        assert x - 1 >= math.log(x)
        assert math.log(1 / x) >= 1 - x - 1e-15
        assert (x - 1) - math.log(x) == pytest.approx(math.log(1 / x) - (1 - x), abs=1e-9)


@pytest.mark.equation("2.5")
def test_gibbs_chain(rng: torch.Generator) -> None:
    for _ in range(20):
        p, q = random_pair(rng)
        shown = p > 0
        divergence = rel_entr(p.numpy(), q.numpy()).sum()
        middle = float((p[shown] * (1 - q[shown] / p[shown])).sum())
        difference_of_sums = float(p[shown].sum() - q[shown].sum())
        assert divergence >= middle
        assert middle == pytest.approx(difference_of_sums, abs=1e-14)
        assert difference_of_sums > 0  # q spends mass where p has none


@pytest.mark.equation("2.5")
def test_gibbs_chain_closes_only_for_equal_distributions(rng: torch.Generator) -> None:
    p, q = random_pair(rng)
    assert rel_entr(p.numpy(), p.numpy()).sum() == 0
    for fraction in [0.5, 0.1, 0.01]:
        mixed = ((1 - fraction) * p + fraction * q).numpy()
        assert rel_entr(p.numpy(), mixed).sum() > 0


@pytest.mark.equation("2.6")
@pytest.mark.parametrize(
    "concave", [math.log, math.sqrt, lambda x: -((x - 1.3) ** 2), lambda x: min(x, 1.0)]
)
def test_concave_functions_lie_above_their_chords(concave) -> None:
    points = [0.01, 0.2, 0.7, 1.0, 1.9, 5.0]
    for a in points:
        for b in points:
            assert concave((a + b) / 2) >= (concave(a) + concave(b)) / 2 - 1e-14


@pytest.mark.equation("2.6")
def test_convex_functions_do_not() -> None:
    assert math.exp((0.2 + 1.9) / 2) < (math.exp(0.2) + math.exp(1.9)) / 2


@pytest.mark.equation("2.7")
def test_jensen_chain(rng: torch.Generator) -> None:
    for _ in range(20):
        p, q = random_pair(rng)
        shown = p > 0
        divergence = rel_entr(p.numpy(), q.numpy()).sum()
        minus_mean_log = -float((p[shown] * (q[shown] / p[shown]).log()).sum())
        minus_log_mean = -math.log(float((p[shown] * (q[shown] / p[shown])).sum()))
        assert divergence == pytest.approx(minus_mean_log, rel=1e-12)
        assert minus_mean_log >= minus_log_mean > 0
