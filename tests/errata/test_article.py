"""The article on generative models and statistical machine learning."""

import math

import pytest
import torch
from torch import Tensor


def normal_log_density(x: Tensor, mean: float, deviation: float) -> Tensor:
    return -0.5 * ((x - mean) / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))


@pytest.mark.erratum("article-dx")
def test_an_integral_without_dx_depends_on_the_grid() -> None:
    exact = math.log(2.0) + (1 + 1) / (2 * 4) - 0.5  # N(0, 1) against N(1, 4)

    def sums(cells: int) -> tuple[float, float]:
        x = torch.linspace(-12, 12, cells + 1, dtype=torch.float64)
        log_p, log_q = normal_log_density(x, 0, 1), normal_log_density(x, 1, 2)
        total = (log_p.exp() * (log_p - log_q)).sum().item()
        return total, total * 24 / cells

    (printed_coarse, right_coarse), (printed_fine, right_fine) = sums(1000), sums(2000)
    assert printed_fine / printed_coarse == pytest.approx(2)
    assert right_coarse == pytest.approx(exact, rel=1e-10)
    assert right_fine == pytest.approx(exact, rel=1e-10)


@pytest.mark.erratum("article-nm")
def test_the_sum_must_run_over_the_index_of_its_terms() -> None:
    data = torch.tensor([2, 0, 2, 1, 2])  # M = 5 observations of a three-valued variable
    count = len(data)

    def delta(observation: int) -> Tensor:
        return (torch.arange(3) == data[observation]).double()

    mu = 3  # free in the printed sum over m
    printed = sum(delta(mu) for _ in range(count)) / count
    right = sum(delta(m) for m in range(count)) / count
    frequencies = torch.bincount(data, minlength=3) / count
    torch.testing.assert_close(right, frequencies.double())
    assert printed.max() == 1  # one observation swallows the rest
    with_another_count = sum(delta(m) for m in range(count)) / (count + 2)  # N, said to be the size
    assert with_another_count.sum() < 0.8


@pytest.mark.erratum("article-stationary")
def test_a_zero_gradient_is_not_yet_a_minimum() -> None:
    data = torch.tensor([-2.3, -1.9, -2.0, 1.8, 2.4, 2.2], dtype=torch.float64)
    data = torch.cat([data, -data])  # symmetric, two groups

    def loss(theta: Tensor) -> Tensor:  # 1/2 N(-theta, 1) + 1/2 N(theta, 1)
        two = torch.stack([-0.5 * (data - theta) ** 2, -0.5 * (data + theta) ** 2])
        return -(two.logsumexp(0) - math.log(2 * math.sqrt(2 * math.pi))).mean()

    zero = torch.tensor(0.0, dtype=torch.float64)
    slope = torch.func.grad(loss)
    assert slope(zero).abs() < 1e-12  # the equation is solved
    assert torch.func.grad(slope)(zero) < -3  # by a maximum of the divergence
    best = torch.tensor(2.1, dtype=torch.float64)
    for _ in range(100):
        best = best - 0.5 * slope(best)
    assert slope(best).abs() < 1e-9
    assert torch.func.grad(slope)(best) > 0
    assert loss(best) < loss(zero) - 1


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    middle = (p + q) / 2
    return ((p * (p / middle).log()).sum(-1) + (q * (q / middle).log()).sum(-1)) / 2


@pytest.mark.erratum("article-gan")
def test_an_adversarial_game_does_not_maximise_the_likelihood() -> None:
    x = torch.linspace(-8, 8, 401, dtype=torch.float64)
    data = 0.6 * normal_log_density(x, -2, 0.6).exp() + 0.4 * normal_log_density(x, 2.5, 0.8).exp()
    data = data / data.sum()
    means = torch.linspace(-4, 4, 161, dtype=torch.float64)
    models = torch.stack([normal_log_density(x, m.item(), 1).softmax(0) for m in means])

    logit = torch.zeros_like(models, requires_grad=True)  # the discriminator, played to its best

    def values() -> Tensor:
        true, fake = logit.sigmoid().log(), (-logit).sigmoid().log()
        return (data * true + models * fake).sum(-1)

    with torch.no_grad():
        logit += data.log() - models.log()  # Bayes' rule
    game = values()
    (slope,) = torch.autograd.grad(game.sum(), logit)
    assert slope.abs().max() < 1e-12  # concave in the logit's sigmoid: this is the maximum
    torch.testing.assert_close(game, 2 * jensen_shannon(data, models) - 2 * math.log(2.0))

    likelihood = (data * models.log()).sum(-1)
    by_likelihood, by_game = means[likelihood.argmax()], means[game.argmin()]
    assert by_likelihood == pytest.approx((data @ x).item(), abs=0.05)  # between the two peaks
    assert by_game == pytest.approx(-2, abs=0.2)  # on the heavier peak
