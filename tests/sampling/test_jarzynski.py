"""Free energies from works: exact over all paths, covered by their errors, bounded both ways."""

import math

import pytest
import torch
from scipy import stats

from lecture_pkg._states import enumerate_states
from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import (
    BlockGibbs,
    HeatBath,
    Metropolis,
    annealed_importance_sampling,
    bennett_acceptance_ratio,
    importance_sample_size,
    jarzynski,
    reverse_annealed_importance_sampling,
)

FALSE_ALARM = 1e-6


def random_rbm(
    n_visible: int, n_hidden: int, scale: float, units: str = "spin", dtype=torch.float64
) -> RBM:
    rng = torch.Generator().manual_seed(31)
    W = torch.randn(n_visible, n_hidden, generator=rng, dtype=torch.float64) * scale
    b = torch.randn(n_visible, generator=rng, dtype=torch.float64)
    c = torch.randn(n_hidden, generator=rng, dtype=torch.float64)
    return RBM.from_parameters(W.to(dtype), b.to(dtype), c.to(dtype), units)


def random_glass(n: int, scale: float) -> BoltzmannMachine:
    rng = torch.Generator().manual_seed(32)
    J = torch.randn(n, n, generator=rng, dtype=torch.float64).triu(1) * scale
    h = torch.randn(n, generator=rng, dtype=torch.float64) * 0.5
    return BoltzmannMachine(J + J.T, h)


def enumerated(rbm: RBM) -> tuple[torch.Tensor, torch.Tensor, float]:
    """All visible states, q of each, and log Z, by summing over every joint configuration."""
    x = enumerate_states(0, 2**rbm.n_visible, rbm.n_visible, rbm.units)
    z = enumerate_states(0, 2**rbm.n_hidden, rbm.n_hidden, rbm.units)
    W, b, c = (t.detach().double() for t in (rbm.W, rbm.b, rbm.c))
    exponent = x @ W @ z.T + (x @ b)[:, None] + z @ c
    return x, exponent.logsumexp(1).softmax(0), float(exponent.flatten().logsumexp(0))


class CyclicHeatBath:
    """Four states in a ring, chased round one way: balance without detailed balance."""

    units = "spin"
    n_units = 2
    dtype = torch.float64
    energies = torch.tensor([0.3, -1.1, 0.8, 0.2], dtype=torch.float64)

    def transition_matrix(self, beta: float = 1.0) -> torch.Tensor:
        q = (-beta * self.energies).softmax(0)
        w = torch.diag(1 - 0.9 * q.min() / q)
        for state in range(4):  # a current of 0.9 min(q) flows round the ring
            w[(state + 1) % 4, state] += 0.9 * q.min() / q[state]
        return w

    def work(self, x: torch.Tensor, beta: float, beta_next: float) -> torch.Tensor:
        return (beta_next - beta) * self.energies[((x + 1) / 2 @ x.new_tensor([2.0, 1.0])).long()]


def kernels() -> list:
    glass = random_glass(3, 1.0)
    reference = torch.tensor([0.5, -1.0, 0.25], dtype=torch.float64)
    return [
        BlockGibbs(random_rbm(3, 2, 1.5), reference=reference),
        BlockGibbs(random_rbm(2, 3, 1.5, "binary")),
        HeatBath(glass, scan="sequential", reference=reference),
        Metropolis(glass, scan="random"),
        CyclicHeatBath(),
    ]


@pytest.mark.parametrize("kernel", kernels(), ids=lambda k: f"{type(k).__name__}-{k.n_units}")
def test_mean_of_exp_minus_work_over_all_paths(kernel):
    # Every path x_0 → x_1 → x_2 → x_3 is visited; nothing is sampled.
    betas = [0.0, 0.3, 0.45, 1.0]
    x = enumerate_states(0, 2**kernel.n_units, kernel.n_units, kernel.units)
    free_energies = kernel.work(x, 0.0, 1.0)
    reference = getattr(kernel, "reference", torch.zeros(kernel.n_units, dtype=torch.float64))
    q0 = (x @ reference).softmax(0)  # at β = 0 the units are independent
    paths = q0 * (-kernel.work(x, betas[0], betas[1])).exp()  # (x_0,)
    for t in (1, 2, 3):
        moved = kernel.transition_matrix(betas[t])  # (x_t, x_{t-1})
        work = kernel.work(x, betas[t], betas[t + 1]) if t < 3 else torch.zeros_like(q0)
        paths = paths[..., :, None] * moved.T * (-work).exp()  # (x_0, ..., x_t)
    assert paths.shape == (len(x),) * 4
    expected = (q0 * (-free_energies).exp()).sum()  # Z_1/Z_0
    assert abs(float(paths.sum() / expected) - 1) < 1e-12


def test_the_cyclic_kernel_keeps_balance_and_breaks_detailed_balance():
    kernel = CyclicHeatBath()
    w, q = kernel.transition_matrix(0.7), (-0.7 * kernel.energies).softmax(0)
    flow = w * q
    assert torch.allclose(w.sum(0), torch.ones(4, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(w @ q, q, atol=1e-14)
    assert (flow - flow.T).abs().max() > 0.01


@pytest.mark.parametrize("scan", ["random", "sequential"])
def test_estimates_cover_log_z_at_their_rate(scan, rng):
    # 200 runs of 100 chains, drawn as one batch of independent chains.
    glass = random_glass(6, 0.6)
    x = enumerate_states(0, 64, 6, "spin")
    log_weights = -glass.energy(x).detach()
    log_z = float(log_weights.logsumexp(0))
    kernel = HeatBath(glass, scan=scan)
    betas = torch.linspace(0, 1, 11, dtype=torch.float64)
    forward = annealed_importance_sampling(kernel, betas, 20_000, rng=rng)
    exact = x[torch.multinomial(log_weights.softmax(0), 20_000, True, generator=rng)]
    reverse = reverse_annealed_importance_sampling(kernel, betas, exact, rng=rng)
    log_z0 = 6 * math.log(2)
    truth = -(log_z - log_z0)
    pairs = zip(forward.work.view(200, 100), reverse.work.view(200, 100), strict=True)
    estimates = {"forward": [], "reverse": [], "both": []}
    for forward_work, reverse_work in pairs:
        estimates["forward"].append(jarzynski(forward_work))
        value, error = jarzynski(reverse_work)
        estimates["reverse"].append((-value, error))
        if scan == "random":  # the sequential sweep is not its own time reversal
            estimates["both"].append(bennett_acceptance_ratio(forward_work, reverse_work))
    for found in estimates.values():
        for width in (1.0, 2.0):
            covered = sum(abs(float(v) - truth) < width * float(e) for v, e in found)
            rate = 1 - 2 * stats.norm.sf(width)
            low, high = stats.binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], len(found), rate)
            assert low <= covered <= high


@pytest.mark.parametrize("units", ["spin", "binary"])
def test_z_is_unbiased_on_a_coarse_ladder_and_the_directions_sandwich_it(units, rng):
    """Mistake 3 of public code: with three steps only, a sweep at the wrong temperature shows, and
    so do means where samples are due.
    """
    rbm = random_rbm(5, 3, 0.7, units)
    x, q, log_z = enumerated(rbm)
    kernel = BlockGibbs(rbm, reference=torch.linspace(-0.5, 0.5, 5, dtype=torch.float64))
    betas = torch.tensor([0.0, 0.4, 0.8, 1.0], dtype=torch.float64)
    forward = annealed_importance_sampling(
        kernel, betas, 100_000, sweeps_per_temperature=2, rng=rng
    )
    assert bool(((forward.x == x.min()) | (forward.x == 1)).all())
    exact = x[torch.multinomial(q, 100_000, True, generator=rng)]
    reverse = reverse_annealed_importance_sampling(kernel, betas, exact, rng=rng)
    for run in (forward, reverse):
        # Five standard errors: false alarm 6e-7.
        assert abs(float(run.log_partition) - log_z) < 5 * float(run.standard_error)
        assert run.standard_error < 0.05
    # Runs of two chains each: their means lie on either side of the truth, clearly.
    log_z0 = float(kernel.initial_log_partition())
    below = torch.stack([log_z0 - jarzynski(w).value for w in forward.work.view(-1, 2)[:5000]])
    above = torch.stack([log_z0 + jarzynski(w).value for w in reverse.work.view(-1, 2)[:5000]])
    assert below.mean() + 5 * below.std() / len(below) ** 0.5 < log_z
    assert above.mean() - 5 * above.std() / len(above) ** 0.5 > log_z
    # The drawn works average to more than ΔF: the second law, both ways.
    assert forward.work.mean() > -(log_z - log_z0)
    assert reverse.work.mean() > log_z - log_z0


def test_weighted_chains_stand_for_the_model(rng):
    rbm = random_rbm(4, 3, 0.8)
    _, q, _ = enumerated(rbm)
    betas = torch.linspace(0, 1, 5, dtype=torch.float64)
    run = annealed_importance_sampling(BlockGibbs(rbm), betas, 200_000, rng=rng)
    state = ((run.x + 1) / 2 @ 2 ** torch.arange(3, -1, -1, dtype=torch.float64)).long()
    frequencies = torch.zeros(16, dtype=torch.float64).index_add_(0, state, (-run.work).softmax(0))
    # Expected distance of n independent draws, and a deviation of false alarm 1e-6.
    n = float(run.importance_sample_size)
    expected = float((q * (1 - q) / (2 * math.pi * n)).sqrt().sum())
    distance = float((frequencies - q).abs().sum() / 2)
    assert distance < expected + math.sqrt(math.log(1e6) / (2 * n))
    unweighted = torch.bincount(state, minlength=16) / len(state)
    assert float((unweighted - q).abs().sum() / 2) > 3 * distance  # they lag behind


def test_float32_sums_the_work_of_ten_thousand_steps_in_float64():
    """Mistake 3 of public code: what adds up along the ladder adds up in float32."""

    class Frozen(BlockGibbs):
        """Chains that never move: their whole work is F_1(x) - F_0(x), whatever the ladder."""

        in_float32 = torch.zeros(8)

        def work_and_sweep(self, x, beta, beta_next, *, rng):
            work = self.work(x, beta, beta_next)
            self.in_float32 += work  # the mistake, for comparison
            return work, x

    rbm = random_rbm(40, 30, 2.0, dtype=torch.float32)
    kernel = Frozen(rbm)
    betas = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    run = annealed_importance_sampling(kernel, betas, 8, rng=torch.Generator().manual_seed(3))
    assert run.work.dtype == torch.float64
    assert run.x.dtype == torch.float32
    double = RBM.from_parameters(*(p.detach().double() for p in (rbm.W, rbm.b, rbm.c)))
    exact = double.free_energy(run.x) + 30 * math.log(2)
    assert (run.work - exact).abs().max() < 1e-3
    assert (kernel.in_float32 - exact).abs().max() > 1e-3


def test_strong_parameters_stay_finite_and_right_in_float32(rng):
    W = torch.tensor([[20.0, -20.0], [-20.0, 20.0], [20.0, 20.0]])
    rbm = RBM.from_parameters(W, torch.tensor([100.0, -100.0, 0.5]), torch.tensor([-100.0, 3.0]))
    _, _, log_z = enumerated(rbm)
    betas = torch.linspace(0, 1, 2001, dtype=torch.float64)
    run = annealed_importance_sampling(BlockGibbs(rbm), betas, 200, rng=rng)
    assert bool(torch.isfinite(run.work).all())
    assert abs(float(run.log_partition) - log_z) < 5 * float(run.standard_error) + 0.01


@pytest.mark.parametrize("kernel", kernels()[:4], ids=lambda k: f"{type(k).__name__}-{k.n_units}")
def test_going_on_gives_the_numbers_of_one_run(kernel):
    betas = torch.linspace(0, 1, 9, dtype=torch.float64)

    def generator():
        return torch.Generator().manual_seed(5)

    whole = annealed_importance_sampling(kernel, betas, 6, rng=generator())
    rng = generator()
    half = annealed_importance_sampling(kernel, betas[:4], 6, rng=rng)
    resumed = annealed_importance_sampling(kernel, betas[3:], 6, initial=half, rng=rng)
    samples = whole.x
    down = reverse_annealed_importance_sampling(kernel, betas, samples, rng=generator())
    rng = generator()
    half = reverse_annealed_importance_sampling(kernel, betas[5:], samples, rng=rng)
    with pytest.raises(ValueError, match="continue it down to 0"):
        half.log_partition  # noqa: B018
    up_to_zero = reverse_annealed_importance_sampling(kernel, betas[:6], half, rng=rng)
    for one, two in ((whole, resumed), (down, up_to_zero)):
        assert torch.equal(one.work, two.work)
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.betas, two.betas)
        assert one.log_partition == two.log_partition


def test_bennett_on_gaussian_works_of_unequal_numbers(rng):
    # Crooks' relation holds for W_F ~ N(ΔF + s²/2, s²) and W_R ~ N(-ΔF + s²/2, s²).
    difference, s = -3.7, 1.5
    forward = difference + s**2 / 2 + s * torch.randn(200, 500, generator=rng)
    reverse = -difference + s**2 / 2 + s * torch.randn(200, 1500, generator=rng)
    found = [
        bennett_acceptance_ratio(f, r)
        for f, r in zip(forward.double(), reverse.double(), strict=True)
    ]
    values = torch.stack([f.value for f in found])
    errors = torch.stack([f.standard_error for f in found])
    assert abs(float(values.mean()) - difference) < 5 * float(values.std()) / 200**0.5
    # The spread of 200 values has a relative error of 5 percent; five of those.
    assert abs(float(errors.mean() / values.std()) - 1) < 0.25
    one_way = torch.stack([jarzynski(f).value for f in forward.double()])
    assert values.std() < one_way.std()


def test_bennett_where_the_works_do_not_overlap():
    # Every term of both sums underflows; by symmetry the difference is in the middle.
    spread = torch.linspace(-1, 1, 51, dtype=torch.float64)
    found = bennett_acceptance_ratio(2000 + spread, 1000 + spread)
    assert float(found.value) == pytest.approx(500, abs=1e-9)
    assert bool(torch.isfinite(found.standard_error))


def test_bennett_of_works_that_do_not_vary_is_exact():
    same = torch.full((5,), 1.25, dtype=torch.float64)
    found = bennett_acceptance_ratio(same, -same[:3])
    assert float(found.value) == pytest.approx(1.25, abs=1e-12)
    assert float(found.standard_error) == pytest.approx(0, abs=1e-7)


def test_sample_size_counts_equal_weights():
    assert float(importance_sample_size(torch.full((7,), 800.0))) == pytest.approx(7)
    lone = torch.tensor([-1000.0, 0.0, 0.0])
    assert float(importance_sample_size(lone)) == pytest.approx(1)
    one_and_two = -torch.tensor([1.0, 2.0], dtype=torch.float64).log()
    assert float(importance_sample_size(one_and_two)) == pytest.approx(1.5**2 / 1.25)


@pytest.mark.bad_input
def test_bad_input(rng):
    kernel = BlockGibbs(random_rbm(3, 2, 1.0))
    betas = torch.linspace(0, 1, 3, dtype=torch.float64)
    run = annealed_importance_sampling(kernel, betas, 4, rng=rng)
    with pytest.raises(ValueError, match="must start where the chains are"):
        annealed_importance_sampling(kernel, betas[1:], 4, rng=rng)
    with pytest.raises(ValueError, match="must start where the chains are"):
        annealed_importance_sampling(kernel, betas, 4, initial=run, rng=rng)
    with pytest.raises(ValueError, match="increase"):
        annealed_importance_sampling(kernel, betas.flip(0), 4, rng=rng)
    with pytest.raises(ValueError, match="n_chains must be at least 2"):
        annealed_importance_sampling(kernel, betas, 1, rng=rng)
    with pytest.raises(ValueError, match="sweeps_per_temperature"):
        annealed_importance_sampling(kernel, betas, 4, sweeps_per_temperature=0, rng=rng)
    with pytest.raises(ValueError, match="must be a reverse run"):
        reverse_annealed_importance_sampling(kernel, betas, run, rng=rng)
    with pytest.raises(ValueError, match="binary"):
        reverse_annealed_importance_sampling(kernel, betas, run.x * 0 + 0.0, rng=rng)
    with pytest.raises(TypeError, match="initial"):
        reverse_annealed_importance_sampling(kernel, betas, run.x.long(), rng=rng)
    with pytest.raises(ValueError, match="two chains"):
        jarzynski(torch.zeros(1))
    with pytest.raises(ValueError, match="finite"):
        jarzynski(torch.tensor([0.0, math.inf]))
    with pytest.raises(TypeError, match="reverse_work"):
        bennett_acceptance_ratio(torch.zeros(2), torch.zeros(2, dtype=torch.int64))
