import math

import pytest
import torch
from scipy.stats import multivariate_normal

from lecture_pkg.data import PlaneDensity, gaussian_mixture_2d, ring_2d, two_spirals_2d

DENSITIES = {
    "mixture": gaussian_mixture_2d(),
    "close mixture": gaussian_mixture_2d(separation=0.3),
    "ring": ring_2d(),
    "spirals": two_spirals_2d(),
    "narrow ring": ring_2d(radius=1.0, width=0.1, n_components=7),
}
NAMES = pytest.mark.parametrize("name", DENSITIES)


def _grid(half: float, n: int) -> tuple[torch.Tensor, float]:
    axis = torch.linspace(-half, half, n, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


@NAMES
def test_total_mass_and_moments_by_quadrature(name: str) -> None:
    # The trapezium rule converges exponentially for smooth functions that vanish at the border.
    density = DENSITIES[name]
    x, area = _grid(7.0, 201)
    p = density.log_prob(x).exp() * area
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-10)
    mean = density.weights @ density.means
    torch.testing.assert_close(p @ x, mean, rtol=0, atol=1e-9)
    # the expectation of the score vanishes, by partial integration
    torch.testing.assert_close(p @ density.score(x), torch.zeros_like(mean), rtol=0, atol=1e-9)


@NAMES
def test_log_prob_against_scipy(name: str, rng: torch.Generator) -> None:
    density = DENSITIES[name]
    x = 4 * torch.rand(50, 2, generator=rng, dtype=torch.float64) - 2
    p = sum(
        float(w) * multivariate_normal(m.numpy(), c.numpy()).pdf(x.numpy())
        for w, m, c in zip(density.weights, density.means, density.covs, strict=True)
    )
    torch.testing.assert_close(
        density.log_prob(x).exp(), torch.as_tensor(p), rtol=1e-10, atol=1e-12
    )


@NAMES
def test_score_is_the_gradient_of_log_prob(name: str, rng: torch.Generator) -> None:
    density = DENSITIES[name]
    x = 3 * torch.randn(3, 20, 2, generator=rng, dtype=torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    torch.testing.assert_close(density.score(x.detach()), gradient, rtol=1e-10, atol=1e-10)


def test_far_away_nothing_underflows() -> None:
    x = torch.tensor([[1e4, -2e4]], dtype=torch.float64)
    density = ring_2d()
    assert bool(torch.isfinite(density.log_prob(x)).all())
    # far out one component is left, which pulls with strength distance / width²
    nearest = density.means[(density.means - x).norm(dim=1).argmin()]
    torch.testing.assert_close(density.score(x), (nearest - x) / 0.2**2, rtol=1e-9, atol=0)


@NAMES
def test_sample_moments(name: str, rng: torch.Generator) -> None:
    density, n = DENSITIES[name], 100_000
    samples = density.sample(n, rng=rng)
    x, area = _grid(7.0, 201)
    p = density.log_prob(x).exp() * area  # the truth does not come from the sampler

    def features(y: torch.Tensor) -> torch.Tensor:
        u, v = y[:, 0], y[:, 1]
        return torch.stack([u, v, u * u, u * v, v * v, u * u * v, u * v * v], dim=1)

    f = features(samples)
    error = (f.mean(0) - p @ features(x)) / (f.std(0) / math.sqrt(n))
    assert float(error.abs().max()) < 6  # seven means, each beyond with probability 2e-9

    normal = torch.tensor([1.0, 0.37], dtype=torch.float64)  # the mass right of a tilted line
    spread = torch.einsum("i,kij,j->k", normal, density.covs, normal).sqrt()
    mass = float(density.weights @ torch.special.ndtr((density.means @ normal - 0.21) / spread))
    count = int((samples @ normal > 0.21).sum())
    assert abs(count - n * mass) < 6 * math.sqrt(n * mass * (1 - mass))  # probability 2e-9


def test_the_same_seed_gives_the_same_points() -> None:
    draws = [two_spirals_2d().sample(5, rng=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_arms_are_each_other_turned_by_half_a_turn(rng: torch.Generator) -> None:
    x = 2 * torch.randn(30, 2, generator=rng, dtype=torch.float64)
    density = two_spirals_2d(turns=1.5, n_components=20)
    torch.testing.assert_close(density.log_prob(x), density.log_prob(-x), rtol=1e-12, atol=1e-12)


def test_single_precision_is_kept(rng: torch.Generator) -> None:
    density = DENSITIES["mixture"]
    single = PlaneDensity(density.weights.float(), density.means.float(), density.covs.float())
    x = single.sample(4, rng=rng)
    assert x.dtype == single.log_prob(x).dtype == single.score(x).dtype == torch.float32
    torch.testing.assert_close(
        single.log_prob(x).double(), density.log_prob(x.double()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.bad_input
def test_bad_parameters_are_refused() -> None:
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    means = torch.zeros(2, 2, dtype=torch.float64)
    covs = torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    with pytest.raises(TypeError, match=r"means must hold floating-point numbers"):
        PlaneDensity(weights, means.long(), covs)
    with pytest.raises(TypeError, match=r"one dtype.*weights is torch.float32"):
        PlaneDensity(weights.float(), means, covs)
    with pytest.raises(ValueError, match=r"weights must sum to one, but its sum is 1.2"):
        PlaneDensity(1.2 * weights, means, covs)
    with pytest.raises(ValueError, match=r"means must have shape \(2, 2\)"):
        PlaneDensity(weights, means[:1], covs)
    with pytest.raises(ValueError, match=r"covs must have shape \(2, 2, 2\)"):
        PlaneDensity(weights, means, covs[0])
    with pytest.raises(ValueError, match=r"covs must be finite"):
        PlaneDensity(weights, means, covs * torch.inf)
    with pytest.raises(ValueError, match=r"positive definite.*smallest eigenvalue is -0.5"):
        PlaneDensity(weights, means, covs * torch.tensor([1.0, -0.5]).double()[:, None, None])
    skew = covs + torch.tensor([[0.0, 0.1], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"covs must be symmetric"):
        PlaneDensity(weights, means, skew)


@pytest.mark.bad_input
def test_bad_points_counts_and_shapes_are_refused() -> None:
    density = DENSITIES["mixture"]
    with pytest.raises(ValueError, match=r"shape \(..., 2\).*\(4, 3\)"):
        density.log_prob(torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"x must be finite"):
        density.score(torch.full((1, 2), torch.nan, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor"):
        density.score([0.0, 1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"n must be at least 1"):
        density.sample(0, rng=torch.Generator())
    with pytest.raises(ValueError, match=r"separation must be finite and at least 0"):
        gaussian_mixture_2d(-1.0)
    with pytest.raises(ValueError, match=r"width must be finite and positive, but 0"):
        ring_2d(width=0.0)
    with pytest.raises(ValueError, match=r"turns must be finite and positive"):
        two_spirals_2d(turns=math.inf)
    with pytest.raises(TypeError, match=r"n_components must be an integer"):
        ring_2d(n_components=8.0)  # type: ignore[arg-type]
