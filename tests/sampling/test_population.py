"""Population annealing: every temperature right, log Z unbiased, families counted."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy import stats

from lecture_pkg._states import enumerate_states
from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import BlockGibbs, HeatBath, Kernel, jarzynski, population_annealing

FALSE_ALARM = 1e-6


def rbm_8_16() -> tuple[Kernel, Callable[[float], torch.Tensor]]:
    """The kernel, and -F_β(x) of all states as a function of β."""
    rng = torch.Generator().manual_seed(41)
    W = torch.randn(8, 16, generator=rng, dtype=torch.float64) * 0.5
    b = torch.randn(8, generator=rng, dtype=torch.float64) * 0.5
    c = torch.randn(16, generator=rng, dtype=torch.float64) * 0.5
    reference = torch.linspace(-0.4, 0.4, 8, dtype=torch.float64)
    x = enumerate_states(0, 256, 8, "spin")
    field = x @ W + c

    def log_weights(beta: float) -> torch.Tensor:
        hidden = torch.logaddexp(beta * field, -beta * field).sum(1)
        return hidden + x @ (beta * b + (1 - beta) * reference)

    return BlockGibbs(RBM.from_parameters(W, b, c), reference=reference), log_weights


def glass_12() -> tuple[Kernel, Callable[[float], torch.Tensor]]:
    rng = torch.Generator().manual_seed(42)
    J = torch.randn(12, 12, generator=rng, dtype=torch.float64).triu(1) * 0.5
    h = torch.randn(12, generator=rng, dtype=torch.float64) * 0.5
    x = enumerate_states(0, 4096, 12, "spin")
    minus_energy = ((x @ J) * x).sum(-1) + x @ h
    kernel = HeatBath(BoltzmannMachine(J + J.T, h), scan="sequential")
    return kernel, lambda beta: beta * minus_energy


@pytest.mark.parametrize("build", [rbm_8_16, glass_12])
def test_every_temperature_has_its_distribution_energy_and_log_z(build, rng):
    kernel, log_weights = build()
    betas = torch.linspace(0, 1, 13, dtype=torch.float64)
    run = population_annealing(
        kernel, betas, 20_000, sweeps_per_temperature=2, keep_samples=True, rng=rng
    )
    n_units = kernel.n_units
    place = 2 ** torch.arange(n_units - 1, -1, -1, dtype=torch.float64)
    for k, beta in enumerate(betas.tolist()):
        q = log_weights(beta).softmax(0)
        state = ((run.samples[k] + 1) / 2 @ place).long()
        frequencies = torch.bincount(state, minlength=2**n_units) / len(state)
        # R/ρ independent families; a deviation beyond the expected distance of that many draws
        # has a probability of 1e-6 for all temperatures together.
        n = len(state) / float(run.mean_square_family[k])
        expected = float((q * (1 - q) / (2 * math.pi * n)).sqrt().sum())
        slack = math.sqrt(math.log(len(betas) / FALSE_ALARM) / (2 * n))
        assert float((frequencies - q).abs().sum() / 2) < expected + slack
        # The first temperature has no error: log Z_0 is known.
        log_z = float(log_weights(beta).logsumexp(0))
        assert abs(float(run.log_partition[k]) - log_z) <= 5.5 * float(run.standard_error[k]) + 1e-9
        step = 1e-4  # the energy is the derivative of -log Z
        slope = (log_weights(beta + step).logsumexp(0) - log_weights(beta - step).logsumexp(0)) / (
            2 * step
        )
        assert abs(float(run.energy[k] + slope)) < 5.5 * float(run.energy_error[k]) + 1e-6
    assert torch.equal(run.samples[-1], run.x)


def test_log_z_is_unbiased_and_its_error_errs_on_the_large_side():
    kernel, log_weights = rbm_8_16()
    log_z = float(log_weights(1.0).logsumexp(0))
    betas = torch.linspace(0, 1, 11, dtype=torch.float64)
    rng = torch.Generator().manual_seed(7)
    runs = [population_annealing(kernel, betas, 200, rng=rng) for _ in range(200)]
    values = torch.stack([run.log_partition[-1] for run in runs])
    errors = torch.stack([run.standard_error[-1] for run in runs])
    for width in (1.0, 2.0):
        covered = int(((values - log_z).abs() < width * errors).sum())
        rate = 1 - 2 * stats.norm.sf(width)
        assert covered >= stats.binom.ppf(FALSE_ALARM, len(runs), rate)
    # The spread of 200 values has a relative error of 5 percent; five of those.
    assert 0.75 < float(errors.square().mean().sqrt() / values.std()) < 1.75
    # Independent runs are combined by the mean of Z, with an exact error; false alarm 6e-7.
    combined = jarzynski(-values)
    assert abs(-float(combined.value) - log_z) < 5 * float(combined.standard_error)
    # And their error covers at its rate: 20 groups of 10 runs.
    groups = [jarzynski(-group) for group in values.view(20, 10)]
    covered = sum(abs(-float(v) - log_z) < 2 * float(e) for v, e in groups)
    rate = 1 - 2 * stats.t.sf(2.0, 9)
    assert covered >= stats.binom.ppf(FALSE_ALARM, 20, rate)


def test_families(rng):
    kernel, _ = glass_12()
    run = population_annealing(kernel, torch.linspace(0, 1, 21).double(), 500, rng=rng)
    sizes = run.family_sizes.double()
    assert float(sizes.sum()) == 500
    assert float(run.mean_square_family[-1]) == pytest.approx(float(sizes.square().sum()) / 500)
    share = sizes / 500
    assert float(run.entropic_family[-1]) == pytest.approx(
        500 * math.exp(float((share * share.log()).sum()))
    )
    assert float(run.mean_square_family[0]) == pytest.approx(1)
    assert float(run.entropic_family[0]) == pytest.approx(1)
    assert bool((run.family.diff() >= 0).all())  # families stand together
    assert len(sizes) < 500


def test_equal_weights_copy_every_member_once(rng):
    free = RBM.from_parameters(*(torch.zeros(s).double() for s in ((4, 3), (4,), (3,))))
    run = population_annealing(BlockGibbs(free), torch.linspace(0, 1, 50).double(), 64, rng=rng)
    assert torch.equal(run.family, torch.arange(64))
    assert float(run.log_partition[-1]) == pytest.approx(7 * math.log(2))
    assert float(run.standard_error[-1]) == 0


def test_number_of_copies_is_the_floor_or_ceiling_of_what_is_expected(rng):
    kernel, _ = glass_12()
    before = population_annealing(kernel, torch.tensor([0.0, 0.3]).double(), 300, rng=rng)
    expected = 300 * (-kernel.work(before.x, 0.3, 1.0)).softmax(0)
    total = torch.zeros(300, dtype=torch.float64)
    for _ in range(400):
        after = population_annealing(
            kernel, torch.tensor([0.3, 1.0]).double(), 300, initial=before, rng=rng
        )
        # Follow members, not families: every member its own.
        copies = _copies(before, after)
        assert bool(((copies - _by_family(before, expected)).abs() < 1).all())
        total += copies
    # Each count has a variance of 1/4 at most: six standard errors, false alarm 2e-9 a family.
    assert bool(((total / 400 - _by_family(before, expected)).abs() < 6 * 0.5 / 20).all())


def _copies(before, after) -> torch.Tensor:
    return torch.bincount(after.family, minlength=300).double()


def _by_family(before, expected: torch.Tensor) -> torch.Tensor:
    return torch.zeros(300, dtype=torch.float64).index_add_(0, before.family, expected)


def test_float32_and_strong_parameters_stay_finite_and_right(rng):
    W = torch.tensor([[20.0, -20.0], [-20.0, 20.0], [20.0, 20.0]])
    b, c = torch.tensor([100.0, -100.0, 0.5]), torch.tensor([-100.0, 3.0])
    x, z = enumerate_states(0, 8, 3, "spin"), enumerate_states(0, 4, 2, "spin")
    log_z = float(
        (x @ W.double() @ z.T + (x @ b.double())[:, None] + z @ c.double()).flatten().logsumexp(0)
    )
    kernel = BlockGibbs(RBM.from_parameters(W, b, c))
    run = population_annealing(kernel, torch.linspace(0, 1, 2001).double(), 500, rng=rng)
    assert run.x.dtype == torch.float32
    assert run.log_partition.dtype == torch.float64
    assert abs(float(run.log_partition[-1]) - log_z) < 5 * float(run.standard_error[-1]) + 0.01


def test_going_on_gives_the_numbers_of_one_run():
    kernel, _ = rbm_8_16()
    betas = torch.linspace(0, 1, 9, dtype=torch.float64)
    whole = population_annealing(
        kernel, betas, 50, keep_samples=True, rng=torch.Generator().manual_seed(5)
    )
    rng = torch.Generator().manual_seed(5)
    half = population_annealing(kernel, betas[:4], 50, keep_samples=True, rng=rng)
    resumed = population_annealing(kernel, betas[3:], 50, initial=half, keep_samples=True, rng=rng)
    for name in whole.__dataclass_fields__:
        assert torch.equal(getattr(whole, name), getattr(resumed, name)), name


@pytest.mark.bad_input
def test_bad_input(rng):
    kernel, _ = rbm_8_16()
    betas = torch.linspace(0, 1, 3, dtype=torch.float64)
    run = population_annealing(kernel, betas[:2], 4, rng=rng)
    with pytest.raises(ValueError, match="must start where the population is"):
        population_annealing(kernel, betas[1:], 4, rng=rng)
    with pytest.raises(ValueError, match="kept no samples"):
        population_annealing(kernel, betas[1:], 4, initial=run, keep_samples=True, rng=rng)
    with pytest.raises(ValueError, match="shape"):
        population_annealing(kernel, betas[1:], 5, initial=run, rng=rng)
    with pytest.raises(ValueError, match="population must be at least 2"):
        population_annealing(kernel, betas, 1, rng=rng)
    with pytest.raises(TypeError, match="betas"):
        population_annealing(kernel, betas.long(), 4, rng=rng)
