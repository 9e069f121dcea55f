"""Series whose autocorrelation time is known in closed form, and chains that disagree."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import norm, rankdata

from lecture_pkg.sampling import autocorrelation_time, effective_sample_size, r_hat, standard_error


def ar1(phi: float, steps: int, chains: int, seed: int) -> torch.Tensor:
    """x_t = φ x_{t-1} + noise, stationary with mean 0 and variance 1: ρ_t = φ^t."""
    noise = np.random.default_rng(seed).standard_normal((steps, chains))
    noise[1:] *= math.sqrt(1 - phi**2)
    return torch.from_numpy(lfilter([1.0], [1.0, -phi], noise, axis=0))


def two_state_chain(up: float, down: float, steps: int, chains: int, seed: int) -> torch.Tensor:
    """A chain on {-1, 3} that goes up and down; its second eigenvalue is 1 - up - down."""
    generator = np.random.default_rng(seed)
    state = generator.random(chains) < up / (up + down)
    path = np.empty((steps, chains))
    for t in range(steps):
        path[t] = np.where(state, 3.0, -1.0)
        flip = generator.random(chains) < np.where(state, down, up)
        state = state ^ flip
    return torch.from_numpy(path)


def slow_geyer(series: np.ndarray) -> float:
    """The initial monotone sequence by plain loops, for one chain."""
    n, centred = len(series), series - series.mean()
    rho = [float(centred[: n - t] @ centred[t:]) / float(centred @ centred) for t in range(n)]
    total, smallest = 0.0, math.inf
    for m in range(n // 2):
        pair = rho[2 * m] + rho[2 * m + 1]
        if pair <= 0:
            break
        smallest = min(smallest, pair)
        total += smallest
    return max(2 * total - 1, 1 / math.log10(n))


def slow_r_hat(series: np.ndarray) -> float:
    """Formulas of Vehtari et al. (2021) with the ranks and quantiles of scipy."""
    half = len(series) // 2
    halves = np.concatenate([series[:half], series[-half:]], axis=1)
    found = []
    for values in (halves, np.abs(halves - np.median(halves))):
        z = norm.ppf((rankdata(values) - 3 / 8) / (values.size + 1 / 4)).reshape(values.shape)
        within = z.var(0, ddof=1).mean()
        between = half * z.mean(0).var(ddof=1)
        found.append(math.sqrt(((half - 1) / half * within + between / half) / within))
    return max(found)


# Tolerances: the relative standard error of τ is about sqrt(12 τ / values), 1.5 % or less in
# every case below; 10 % is more than five of them (false alarm below 1e-6).
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, -0.3])
def test_autocorrelation_time_of_an_autoregression(phi):
    f = ar1(phi, 20_000, 50, seed=1)
    assert float(autocorrelation_time(f)) == pytest.approx((1 + phi) / (1 - phi), rel=0.1)


@pytest.mark.parametrize(("up", "down"), [(0.02, 0.06), (0.4, 0.3), (0.7, 0.6)])
def test_autocorrelation_time_of_two_states_is_that_of_the_spectral_gap(up, down):
    second = 1 - up - down
    f = two_state_chain(up, down, 10_000, 40, seed=2)
    assert float(autocorrelation_time(f)) == pytest.approx((1 + second) / (1 - second), rel=0.15)


def test_one_chain_equals_plain_loops():
    for seed, phi in enumerate([0.7, 0.3, -0.8, 0.0]):
        f = ar1(phi, 601, 1, seed)[:, 0]
        assert float(autocorrelation_time(f)) == pytest.approx(slow_geyer(f.numpy()), abs=1e-10)


def test_a_vector_is_one_chain_and_scale_does_not_matter():
    f = ar1(0.6, 2000, 1, seed=4)
    expected = float(autocorrelation_time(f))
    assert float(autocorrelation_time(f[:, 0])) == expected
    assert float(autocorrelation_time(1e6 + 1e-3 * f)) == pytest.approx(expected, rel=1e-5)
    assert autocorrelation_time(f.float()).dtype == torch.float64


def test_perfect_alternation_has_the_smallest_time_that_is_returned():
    f = torch.ones(1000, dtype=torch.float64)
    f[1::2] = -1
    assert float(autocorrelation_time(f)) == pytest.approx(1 / 3)


def test_error_bars_cover_the_mean_at_their_rate():
    """Two hundred chains of one thousand steps with τ = 9; the true mean is zero."""
    f = ar1(0.8, 1000, 200, seed=5)
    mean = f.mean(0)
    bar = torch.stack([standard_error(chain) for chain in f.T])
    naive = f.std(0) / math.sqrt(1000)
    # 68 % and 95 % of 200, give or take 5 binomial standard deviations (false alarm 6e-7).
    assert 0.683 - 0.165 < float((mean.abs() < bar).double().mean()) < 0.683 + 0.165
    assert float((mean.abs() < 1.96 * bar).double().mean()) > 0.95 - 0.078
    # A bar three times too small covers 26 % of the time.
    assert float((mean.abs() < naive).double().mean()) < 0.26 + 0.156
    size = torch.stack([effective_sample_size(chain) for chain in f.T])
    assert float(size.median()) == pytest.approx(1000 / 9, rel=0.3)


def test_several_chains_pool_their_error_bar():
    f = ar1(0.5, 4000, 25, seed=6)
    assert float(effective_sample_size(f)) == pytest.approx(100_000 / 3, rel=0.1)
    assert float(standard_error(f)) == pytest.approx(math.sqrt(3 / 100_000), rel=0.1)


@pytest.mark.parametrize("steps", [1000, 1001])
def test_r_hat_equals_the_published_formulas(steps):
    f = ar1(0.9, steps, 4, seed=7) + torch.tensor([0.0, 0.3, 0.0, -0.2])
    assert float(r_hat(f)) == pytest.approx(slow_r_hat(f.numpy()), abs=1e-12)
    coarse = (2 * f).round()  # many equal values
    assert float(r_hat(coarse)) == pytest.approx(slow_r_hat(coarse.numpy()), abs=1e-12)


def test_r_hat_near_one_for_chains_that_agree():
    assert float(r_hat(ar1(0.5, 4000, 8, seed=8))) < 1.01
    assert float(r_hat(two_state_chain(0.3, 0.2, 4000, 8, seed=9))) < 1.01


def test_r_hat_sees_modes_width_drift_and_frozen_chains():
    f = ar1(0.5, 1000, 4, seed=10)
    modes = f + 5 * torch.tensor([1.0, 1.0, 1.0, -1.0])
    widths = f * torch.tensor([1.0, 1.0, 1.0, 4.0])
    drift = f + torch.linspace(0, 3, 1000)[:, None]
    for problem in (modes, widths, drift):
        assert float(r_hat(problem)) > 1.1
    frozen = torch.tensor([[1.0, -1.0, -1.0]], dtype=torch.float64).expand(100, 3)
    assert float(r_hat(frozen)) == math.inf


def test_r_hat_of_two_values_ignores_the_fold():
    """|f - median| is the same number everywhere where ±1 come equally often."""
    f = torch.ones(400, 2, dtype=torch.float64)
    f[::2] = -1
    assert float(r_hat(f)) == 1.0


def test_chains_in_different_modes_have_no_autocorrelation_time():
    f = ar1(0.5, 1000, 4, seed=11) + 5 * torch.tensor([1.0, 1.0, 1.0, -1.0])
    for estimate in (autocorrelation_time, effective_sample_size, standard_error):
        with pytest.raises(ValueError, match=r"too short for its correlation.*run the chain"):
            estimate(f)


def test_a_walk_that_never_returns_is_refused():
    walks = np.random.default_rng(12).standard_normal((2000, 20)).cumsum(0)
    refused = 0
    for walk in torch.from_numpy(walks).T:
        try:
            autocorrelation_time(walk)
        except ValueError:
            refused += 1
    # About 1 walk in 200 looks stationary; 5 of 20 has probability below 1e-6.
    assert refused >= 16


@pytest.mark.bad_input
@pytest.mark.parametrize("estimate", [autocorrelation_time, standard_error, r_hat])
def test_bad_series_are_refused(estimate):
    good = ar1(0.2, 100, 2, seed=13)
    with pytest.raises(TypeError, match=r"f must be a torch\.Tensor"):
        estimate(good.numpy())
    with pytest.raises(TypeError, match="floating-point"):
        estimate(good.long())
    with pytest.raises(ValueError, match="NaN"):
        estimate(torch.where(good == good[3, 1], math.nan, good))
    with pytest.raises(ValueError, match="at least 8 steps"):
        estimate(good[:7])
    with pytest.raises(ValueError, match="constant"):
        estimate(torch.full((100, 2), 3.0))
    with pytest.raises(ValueError, match="one observable at a time"):
        estimate(good[:, :, None])


@pytest.mark.bad_input
def test_r_hat_wants_several_chains():
    f = ar1(0.2, 100, 1, seed=14)
    for single in (f, f[:, 0]):
        with pytest.raises(ValueError, match="at least two chains"):
            r_hat(single)
