import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from scipy.stats import entropy as scipy_entropy

from lecture_pkg.evaluation import (
    cross_entropy,
    entropy,
    jensen_shannon,
    kl,
    kl_monte_carlo,
    total_variation,
)

P = torch.tensor([0.5, 0.25, 0.0, 0.2, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.3, 0.4, 0.15, 0.05], dtype=torch.float64)


@st.composite
def vectors(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Two probability vectors of one length; the first may hold zeros, the second is positive."""
    k = draw(st.integers(2, 7))
    weight = st.floats(1e-6, 1.0)
    p = draw(st.lists(st.one_of(st.just(0.0), weight), min_size=k, max_size=k).filter(any))
    q = draw(st.lists(weight, min_size=k, max_size=k))
    p, q = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    return p / p.sum(), q / q.sum()


@given(vectors())
@settings(deadline=None, derandomize=True)
def test_against_scipy(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    p, q = pair
    relative = rel_entr(p.numpy(), q.numpy()).sum()
    assert float(kl(p, q)) == pytest.approx(relative, rel=1e-12, abs=1e-14)
    assert float(entropy(p)) == pytest.approx(scipy_entropy(p.numpy()), rel=1e-12, abs=1e-14)
    assert float(cross_entropy(p, q)) == pytest.approx(
        scipy_entropy(p.numpy()) + relative, rel=1e-12, abs=1e-14
    )


@given(vectors())
@settings(deadline=None, derandomize=True)
def test_bounds(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    p, q = pair
    divergence, distance, js = float(kl(p, q)), float(total_variation(p, q)), jensen_shannon(p, q)
    assert divergence >= -1e-15
    assert 2 * distance**2 <= divergence + 1e-15  # Pinsker
    assert -1e-15 <= float(js) <= math.log(2) + 1e-15
    assert 0 <= float(entropy(p)) <= math.log(len(p)) + 1e-15
    assert float(jensen_shannon(q, p)) == pytest.approx(float(js), rel=1e-12, abs=1e-15)


def test_jensen_shannon_is_the_information_about_which_one_was_drawn() -> None:
    """Independent form: H((p + q)/2) - (H(p) + H(q))/2, the entropies from scipy."""
    middle = (P + Q).numpy() / 2
    expected = scipy_entropy(middle) - (scipy_entropy(P.numpy()) + scipy_entropy(Q.numpy())) / 2
    assert float(jensen_shannon(P, Q)) == pytest.approx(expected, rel=1e-13)
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(jensen_shannon(apart[0], apart[1])) == pytest.approx(math.log(2))


def test_total_variation_is_the_largest_difference_over_all_events() -> None:
    events = (torch.arange(32)[:, None] >> torch.arange(5)) & 1
    largest = (events.double() @ (P - Q)).abs().max()
    assert float(total_variation(P, Q)) == pytest.approx(float(largest), abs=1e-15)


def test_where_q_vanishes_and_p_does_not_the_divergence_is_infinite() -> None:
    assert float(kl(Q, P)) == torch.inf
    assert float(cross_entropy(Q, P)) == torch.inf
    assert math.isfinite(float(kl(P, Q)))
    assert math.isfinite(float(jensen_shannon(Q, P)))
    assert float(kl(P, P)) == 0.0


def test_tiny_probabilities_do_not_overflow() -> None:
    p = torch.tensor([1e-300, 1.0], dtype=torch.float64)
    q = torch.tensor([1.0, 1e-300], dtype=torch.float64)
    expected = 1e-300 * math.log(1e-300) - math.log(1e-300)
    assert float(kl(p, q)) == pytest.approx(expected, rel=1e-14)


def test_batches_lead_and_rows_are_independent() -> None:
    p = torch.stack([P, Q, P.flip(0)]).reshape(3, 1, 5)
    q = torch.stack([Q, Q, Q.flip(0)]).reshape(3, 1, 5)
    expected = rel_entr(p.numpy(), q.numpy()).sum(-1)
    np.testing.assert_allclose(kl(p, q).numpy(), expected, atol=1e-15)
    for measure in (cross_entropy, jensen_shannon, total_variation):
        assert measure(p, q).shape == (3, 1)
    assert entropy(p).shape == (3, 1)


def test_the_dtype_is_kept() -> None:
    single = (P.float(), Q.float())
    for measure in (kl, cross_entropy, jensen_shannon, total_variation):
        assert measure(*single).dtype == torch.float32
        assert float(measure(*single)) == pytest.approx(float(measure(P, Q)), rel=1e-6)


def test_gradient_in_q_is_finite_where_p_vanishes() -> None:
    logits = torch.tensor(
        [0.3, -0.2, 0.9, -torch.inf, 0.0], dtype=torch.float64, requires_grad=True
    )
    p = torch.tensor([0.5, 0.25, 0.0, 0.0, 0.25], dtype=torch.float64)
    q = logits.softmax(0)
    (gradient,) = torch.autograd.grad(kl(p, q), logits)
    # in the logits the gradient of the divergence is q - p
    torch.testing.assert_close(gradient, (q - p).detach(), rtol=0, atol=1e-14)


def _log_normal(mean: float, std: float):
    return lambda x: torch.distributions.Normal(mean, std).log_prob(x)


def test_monte_carlo_covers_the_closed_form() -> None:
    """KL between N(0.3, 0.8²) and N(-0.4, 1.5²), by 400 repetitions of 500 draws."""
    m1, s1, m2, s2 = 0.3, 0.8, -0.4, 1.5
    truth = math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
    generator = torch.Generator().manual_seed(11)
    z = []
    for _ in range(400):
        x = m1 + s1 * torch.randn(500, generator=generator, dtype=torch.float64)
        estimate = kl_monte_carlo(_log_normal(m1, s1), _log_normal(m2, s2), x)
        z.append(float((estimate.mean - truth) / estimate.standard_error))
    z = torch.tensor(z)
    # mean of 400 standard normals beyond 5.2/20: 2e-7; their variance beyond 1 ± 6 √(2/400): 1e-8
    # (both a little wider than normal, since each z is a t with 499 degrees of freedom)
    assert abs(float(z.mean())) < 5.2 / 20
    assert abs(float(z.var()) - 1) < 6 * math.sqrt(2 / 400)


def test_monte_carlo_figures_on_four_samples() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [5.0]], dtype=torch.float64)
    estimate = kl_monte_carlo(lambda y: y[:, 0], lambda y: torch.zeros_like(y[:, 0]), x)
    assert float(estimate.mean) == pytest.approx(2.0)
    assert float(estimate.standard_error) == pytest.approx(math.sqrt(14 / 3) / 2)


def test_monte_carlo_is_infinite_where_the_model_excludes_a_sample() -> None:
    x = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    estimate = kl_monte_carlo(torch.zeros_like, lambda y: torch.where(y > 0, 0.0, -torch.inf), x)
    assert float(estimate.mean) == torch.inf
    assert math.isnan(float(estimate.standard_error))


@pytest.mark.bad_input
@pytest.mark.parametrize("measure", [kl, cross_entropy, jensen_shannon, total_variation])
def test_bad_vectors_are_refused(measure) -> None:
    with pytest.raises(TypeError, match=r"p must be a torch.Tensor"):
        measure([0.5, 0.5], P)
    with pytest.raises(TypeError, match=r"q must hold floating-point numbers"):
        measure(P, torch.tensor([1, 0, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"q must be non-negative.*-0.1"):
        measure(P, torch.tensor([0.6, 0.5, -0.1, 0.0, 0.0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"q must sum to one, but its sum is 1.5"):
        measure(P, 1.5 * Q)
    with pytest.raises(ValueError, match=r"p must be finite"):
        measure(P * torch.nan, Q)
    with pytest.raises(ValueError, match=r"same shape.*\(5,\) and \(1, 5\)"):
        measure(P, Q[None])
    with pytest.raises(ValueError, match=r"p must hold probability vectors in its last dimension"):
        measure(torch.tensor(1.0), Q)


@pytest.mark.bad_input
def test_each_row_of_a_batch_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match=r"p must sum to one, but its sum is 0.5"):
        entropy(torch.tensor([[0.25, 0.25], [0.75, 0.75]]).double())
    with pytest.raises(ValueError, match=r"at least one outcome"):
        entropy(torch.zeros(3, 0))


@pytest.mark.bad_input
def test_bad_samples_and_densities_are_refused() -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)

    def flat(y: torch.Tensor) -> torch.Tensor:
        return y.sum(-1)

    with pytest.raises(TypeError, match=r"samples must hold floating-point"):
        kl_monte_carlo(flat, flat, x.long())
    with pytest.raises(ValueError, match=r"samples must hold at least two draws"):
        kl_monte_carlo(flat, flat, x[:1])
    with pytest.raises(ValueError, match=r"log_q\(samples\) must have shape \(3\)"):
        kl_monte_carlo(flat, lambda y: y, x)
    with pytest.raises(ValueError, match=r"log_p\(samples\) must be finite.*drawn from p"):
        kl_monte_carlo(lambda y: flat(y) - torch.inf, flat, x)
    with pytest.raises(ValueError, match=r"log_q\(samples\) must be a number or minus infinity"):
        kl_monte_carlo(flat, lambda y: flat(y) * torch.nan, x)
