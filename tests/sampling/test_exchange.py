"""Exchange Monte Carlo against exact sums: small machines, a glass of 12 spins, an 8 x 16 RBM.

Bounds on total variation: for n independent draws from p, the mean distance is at most
½ Σ sqrt(p (1 - p) / n), and it is exceeded by ε with probability at most exp(-2 n ε²) (McDiarmid's
inequality). The draws at one temperature are the final states of n independent replicas, so that
no autocorrelation enters.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import (
    BlockGibbs,
    ExchangeState,
    HeatBath,
    exchange_monte_carlo,
)
from lecture_pkg.sampling.exchange import exchange_probability

FALSE_ALARM = 1e-7  # of each comparison
SIGMAS = 5.4  # two-sided, the same for a normal variable
BETAS = torch.tensor([0.0, 0.35, 0.7, 1.0], dtype=torch.float64)
THREE = torch.tensor([0.1, 0.5, 1.2], dtype=torch.float64)


class MarginalWeights(BlockGibbs):
    """Mistake 1 of public code: the work as if q_β were exp(-β F_1), with F_1 at β = 1."""

    def work(self, x, beta, beta_next):
        beta, beta_next = (torch.as_tensor(b, dtype=x.dtype) for b in (beta, beta_next))
        return (beta_next - beta) * self.model.free_energy(x).detach()


def normal(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def make_glass(dtype: torch.dtype = torch.float64) -> BoltzmannMachine:
    J = 1.5 * normal(12, 12, seed=1).triu(1) / 12**0.5
    return BoltzmannMachine((J + J.T).to(dtype), 0.4 * normal(12, seed=2).to(dtype), "spin")


def make_rbm(n: int = 8, m: int = 16) -> RBM:
    W, b, c = 1.5 * normal(n, m, seed=3), normal(n, seed=4), normal(m, seed=5) - 1
    return RBM.from_parameters(W, b, c, "binary")


REFERENCE = 0.5 * normal(8, seed=6)


def all_states(n: int, low: float) -> Tensor:
    return torch.tensor(list(itertools.product([low, 1.0], repeat=n)), dtype=torch.float64)


def glass_free_energies(betas: Tensor) -> Tensor:
    """β E(x) for every β and state, the sum over pairs written out."""
    glass, x = make_glass(), all_states(12, -1.0)
    J, h = glass.J.detach(), glass.h.detach()
    pairs = sum(J[k, m] * x[:, k] * x[:, m] for k in range(12) for m in range(k + 1, 12))
    return -betas[:, None] * (pairs + x @ h)


def rbm_free_energies(betas: Tensor, n: int = 8, m: int = 16) -> Tensor:
    """F_β(x) for every β and visible state, hidden units summed one by one."""
    rbm, x = make_rbm(n, m), all_states(n, 0.0)
    W, b, c = (t.detach() for t in (rbm.W, rbm.b, rbm.c))
    rows = []
    for beta in betas:
        row = -x @ ((1 - beta) * REFERENCE[:n] + beta * b)
        for unit in range(m):
            field = beta * (x @ W[:, unit] + c[unit])
            row = row - torch.stack([torch.zeros_like(field), field]).logsumexp(0)
        rows.append(row)
    return torch.stack(rows)


CASES = {
    "glass": (lambda: HeatBath(make_glass()), glass_free_energies),
    "rbm": (lambda: BlockGibbs(make_rbm(), reference=REFERENCE), rbm_free_energies),
}


def make_pair() -> BoltzmannMachine:
    J = torch.tensor([[0.0, 1.3], [1.3, 0.0]], dtype=torch.float64)
    return BoltzmannMachine(J, torch.tensor([0.5, -0.2], dtype=torch.float64), "spin")


def pair_free_energies(betas: Tensor) -> Tensor:
    x = all_states(2, -1.0)
    return -betas[:, None] * (1.3 * x[:, 0] * x[:, 1] + 0.5 * x[:, 0] - 0.2 * x[:, 1])


TINY = {
    "pair": (lambda: HeatBath(make_pair()), pair_free_energies, -1.0),
    "rbm": (
        lambda: BlockGibbs(make_rbm(2, 3), reference=REFERENCE[:2]),
        lambda b: rbm_free_energies(b, 2, 3),
        0.0,
    ),
}


def index_of(x: Tensor) -> Tensor:
    powers = 2 ** torch.arange(x.shape[-1] - 1, -1, -1)
    return ((x > 0) * powers).sum(-1)


def allowed_distance(p: Tensor, n: int) -> float:
    mean = 0.5 * (p * (1 - p) / n).sqrt().sum()
    return float(mean + math.sqrt(-math.log(FALSE_ALARM) / (2 * n)))


def distance(indices: Tensor, p: Tensor) -> float:
    fractions = torch.bincount(indices, minlength=len(p)) / len(indices)
    return float(0.5 * (fractions - p).abs().sum())


def joint_states(low: float) -> Tensor:
    """All states of two units at three temperatures: (64, 3, 2), the first temperature slowest."""
    x = all_states(2, low)
    return torch.stack([x[list(i)] for i in itertools.product(range(4), repeat=3)])


def swap_matrix(kernel, states: Tensor, first: int) -> Tensor:
    """The exchange of the pair (first, first + 1) as a 64 x 64 matrix, columns from."""
    x = states.transpose(0, 1).contiguous()  # (3, 64, 2): every joint state is one replica
    level = torch.arange(3)[:, None].expand(3, 64).contiguous()
    accept = exchange_probability(kernel, THREE, x, level, first)[0]
    swapped = states.clone()
    swapped[:, [first, first + 1]] = states[:, [first + 1, first]]
    to, here = index_of(swapped.flatten(1)), torch.arange(64)
    w = torch.zeros(64, 64, dtype=torch.float64)
    w[to, here] += accept
    w[here, here] += 1 - accept
    return w


def sweep_matrix(kernel) -> Tensor:
    a, b, c = (kernel.transition_matrix(float(beta)) for beta in THREE)
    return torch.kron(a, torch.kron(b, c))


def product(F: Tensor) -> Tensor:
    a, b, c = (-F).softmax(1)
    return torch.einsum("i,j,k->ijk", a, b, c).flatten()


@pytest.mark.parametrize("case", TINY)
def test_every_step_leaves_the_product_distribution_as_it_is(case: str) -> None:
    make, free_energies, low = TINY[case]
    kernel, pi = make(), product(free_energies(THREE))
    states = joint_states(low)
    sweep = sweep_matrix(kernel)
    assert (sweep @ pi - pi).abs().max() < 1e-12
    for first in (0, 1):
        swap = swap_matrix(kernel, states, first)
        torch.testing.assert_close(swap.sum(0), torch.ones(64).double(), rtol=0, atol=1e-14)
        assert (swap >= 0).all()
        assert (swap @ pi - pi).abs().max() < 1e-12
        flow = swap * pi  # exchanges satisfy detailed balance
        assert (flow - flow.T).abs().max() < 1e-12
        assert swap.diagonal().min() < 0.9  # and do happen
    cycle = swap_matrix(kernel, states, 1) @ sweep @ swap_matrix(kernel, states, 0) @ sweep
    one = torch.linalg.matrix_power(cycle, 200)[:, 5]
    assert (one - pi).abs().max() < 1e-12  # from one state to the product and nothing else


def test_weights_of_the_marginal_at_beta_one_leave_another_distribution() -> None:
    """Mistake 1 of public code."""
    kernel = MarginalWeights(make_rbm(2, 3), reference=REFERENCE[:2])
    pi = product(rbm_free_energies(THREE, 2, 3))
    states, sweep = joint_states(0.0), sweep_matrix(kernel)
    cycle = swap_matrix(kernel, states, 1) @ sweep @ swap_matrix(kernel, states, 0) @ sweep
    wrong = torch.linalg.matrix_power(cycle, 200)[:, 5]
    assert (wrong - pi).abs().sum() / 2 > 0.01


def test_acceptance_does_not_depend_on_which_walker_is_where(rng: torch.Generator) -> None:
    kernel = BlockGibbs(make_rbm(), reference=REFERENCE)
    betas = torch.linspace(0, 1, 5, dtype=torch.float64)
    by_level = (torch.rand(5, 7, 8, generator=rng) < 0.5).double()
    walker = torch.rand(5, 7, generator=rng).argsort(0)  # which walker is at each level
    x = torch.empty_like(by_level).scatter_(0, walker[..., None].expand(5, 7, 8), by_level)
    level = walker.argsort(0)
    F = rbm_free_energies(betas)
    for first in (0, 1):
        found = exchange_probability(kernel, betas, x, level, first)
        i = index_of(by_level)
        for row, k in enumerate(range(first, 4, 2)):
            delta = F[k + 1, i[k]] - F[k, i[k]] + F[k, i[k + 1]] - F[k + 1, i[k + 1]]
            torch.testing.assert_close(found[row], (-delta).exp().clamp(max=1))


@pytest.mark.parametrize("case", TINY)
def test_a_few_sweeps_have_the_distribution_that_the_matrices_give(
    case: str, rng: torch.Generator
) -> None:
    make, free_energies, low = TINY[case]
    kernel, states, n = make(), joint_states(low), 200_000
    start = torch.tensor([low, 1.0], dtype=torch.float64)
    p = (states == start).all(-1).all(-1).double()
    x = start.expand(3, n, 2).contiguous()
    level = torch.arange(3)[:, None].expand(3, n).contiguous()
    run = exchange_monte_carlo(
        kernel, THREE, 4, n_replicas=n, initial=ExchangeState(x, level, 0), rng=rng
    )
    sweep = sweep_matrix(kernel)
    for t in range(4):
        p = swap_matrix(kernel, states, t % 2) @ sweep @ p
        found = index_of(run.x[t].transpose(0, 1).flatten(1))
        assert distance(found, p) < allowed_distance(p, n)
        if t == 0:  # far from equilibrium
            assert (p - product(free_energies(THREE))).abs().sum() > 5 * allowed_distance(p, n)


@pytest.mark.parametrize("case", CASES)
def test_every_temperature_is_sampled_exactly(case: str, rng: torch.Generator) -> None:
    make, free_energies = CASES[case]
    F = free_energies(BETAS)
    q, n = (-F).softmax(1), 20_000
    run = exchange_monte_carlo(make(), BETAS, 30, n_replicas=n, keep_every=30, rng=rng)
    for k in range(len(BETAS)):
        found = index_of(run.samples(k))
        assert len(found) == n
        assert distance(found, q[k]) < allowed_distance(q[k], n)

    late = exchange_monte_carlo(
        make(), BETAS, 20, n_replicas=2000, initial=first(run.state, 2000), rng=rng
    )
    step = 1e-5
    slope = (free_energies(BETAS + step) - free_energies(BETAS - step)) / (2 * step)
    gap = late.mean_energy - (q * slope).sum(1)
    assert (gap.abs() < SIGMAS * late.mean_energy_error + 1e-9).all()
    assert (late.mean_energy_error < 0.05).all()
    exact = exact_acceptance(F)
    bound = math.sqrt(math.log(2 / FALSE_ALARM) / (2 * 2000))  # Hoeffding, replicas independent
    assert ((late.acceptance - exact).abs() < bound).all()


def first(state: ExchangeState, n: int) -> ExchangeState:
    return ExchangeState(state.x[:, :n].clone(), state.level[:, :n].clone(), state.n_sweeps)


def exact_acceptance(F: Tensor) -> Tensor:
    """Σ_x Σ_x' q_k(x) q_{k+1}(x') min(1, exp(-Δ)), over the states in order of the work."""
    rows = []
    for k in range(len(F) - 1):
        p, q = (-F[k]).softmax(0), (-F[k + 1]).softmax(0)
        work = F[k + 1] - F[k]
        order = work.argsort()
        p, q, work = p[order], q[order], work[order]
        # Δ = work(x) - work(x'): accepted for sure where x stands before x' in this order.
        surely = q.flip(0).cumsum(0).flip(0)
        earlier = (q * (work - work.max()).exp()).cumsum(0) - q * (work - work.max()).exp()
        rows.append((p * surely).sum() + (p * (work.max() - work).exp() * earlier).sum())
    return torch.stack(rows)


CROSS = torch.tensor([1, -1, -1, 1, -1, 1, 1, -1, -1, 1, 1, -1, 1, -1, -1, 1]).double()
CORNER = torch.tensor([1, -1, -1, -1, 1, -1, -1, -1, 1, -1, -1, -1, 1, 1, 1, 1]).double()
DIRECTION = CROSS - CORNER  # differs in nine units: every state is nearer to one of the two


def two_peaks() -> RBM:
    """Two pictures of 16 spins, far apart. One hidden unit tells which; three see only one."""
    seen = CORNER - (CROSS @ CORNER) / 16 * CROSS
    W = torch.stack([1.25 * DIRECTION, *3 * [0.15 * seen]], 1)
    c = torch.tensor([1.8, 0.0, 0.0, 0.0], dtype=torch.float64)
    return RBM.from_parameters(W, 0.625 * (CROSS + CORNER), c)


def weight_of_the_cross(beta: float) -> float:
    rbm, x = two_peaks(), all_states(16, -1.0)
    W, b, c = (t.detach() for t in (rbm.W, rbm.b, rbm.c))
    terms = [beta * ((x @ W) @ z + x @ b + c @ z) for z in all_states(4, -1.0)]
    return float(torch.stack(terms).logsumexp(0).softmax(0)[x @ DIRECTION > 0].sum())


def near_the_cross(x: Tensor) -> Tensor:
    return (x @ DIRECTION > 0).double()


def test_both_peaks_get_their_weight_though_no_single_chain_crosses(rng: torch.Generator) -> None:
    n, kernel = 1500, BlockGibbs(two_peaks())
    single = CROSS.expand(n, 16)
    for _ in range(100):
        single = kernel.sweep(single, 1.0, rng=rng)
    assert near_the_cross(single).all()  # 9e-9 crossings a sweep: none in 150 000 but for 0.001

    betas = torch.linspace(0, 1, 8, dtype=torch.float64)
    level = torch.arange(8)[:, None].expand(8, n).contiguous()
    start = ExchangeState(CROSS.expand(8, n, 16).contiguous(), level, 0)
    found = {}
    for make in (BlockGibbs, MarginalWeights):
        run = exchange_monte_carlo(
            make(two_peaks()), betas, 160, n_replicas=n, initial=start, keep_every=160, rng=rng
        )
        found[make] = near_the_cross(run.x[-1]).mean(1)
    weight = torch.tensor([weight_of_the_cross(float(beta)) for beta in betas]).double()
    error = (weight * (1 - weight) / n).sqrt()
    assert 0.2 < weight[-1] < 0.4 < 0.6 < weight[3]
    assert ((found[BlockGibbs] - weight).abs() < SIGMAS * error).all()
    assert (found[MarginalWeights] - weight)[-1] > 1.3 * SIGMAS * error[-1]  # mistake 1


def test_standard_errors_are_the_spread_of_the_means() -> None:
    make, free_energies, _ = TINY["rbm"]
    q, step = (-free_energies(THREE)).softmax(1), 1e-5
    slope = (free_energies(THREE + step) - free_energies(THREE - step)) / (2 * step)
    exact = (q * slope).sum(1)
    rng = torch.Generator().manual_seed(11)
    scores = []
    for _ in range(20):
        run = exchange_monte_carlo(make(), THREE, 70, n_replicas=3, rng=rng)
        scores.append((run.mean_energy - exact) / run.mean_energy_error)
    # χ² of 20 values over 20 stays inside 0.13 ... 3.2 except for 1e-6.
    mean_square = torch.stack(scores).square().mean(0)
    assert ((mean_square > 0.13) & (mean_square < 3.5)).all()
    single = exchange_monte_carlo(make(), THREE, 1, rng=rng)
    assert single.mean_energy_error.isnan().all()
    assert single.acceptance.isnan().tolist() == [False, True]


@pytest.mark.parametrize("case", CASES)
def test_two_runs_are_one_long_run(case: str) -> None:
    kernel = CASES[case][0]()
    rng = torch.Generator().manual_seed(3)
    whole = exchange_monte_carlo(kernel, BETAS, 31, n_replicas=5, keep_every=3, rng=rng)
    rng.manual_seed(3)
    one = exchange_monte_carlo(kernel, BETAS, 15, n_replicas=5, keep_every=3, rng=rng)
    before = (one.state.x.clone(), one.state.level.clone())
    two = exchange_monte_carlo(
        kernel, BETAS, 16, n_replicas=5, initial=one.state, keep_every=3, rng=rng
    )
    assert torch.equal(torch.cat([one.x, two.x]), whole.x)
    assert torch.equal(torch.cat([one.level, two.level]), whole.level)
    assert torch.equal(two.state.x, whole.state.x)
    assert torch.equal(two.state.level, whole.state.level)
    assert two.state.n_sweeps == whole.state.n_sweeps == 31
    assert torch.equal(before[0], one.state.x)
    assert torch.equal(before[1], one.state.level)


def test_walkers_keep_their_rows_and_the_ladder_orders_the_samples(rng: torch.Generator) -> None:
    run = exchange_monte_carlo(HeatBath(make_glass()), BETAS, 12, n_replicas=6, rng=rng)
    for t in range(12):
        assert torch.equal(
            run.level[t].sort(0).values.long(), torch.arange(4)[:, None].expand(4, 6)
        )
    walker = run.level[-1].long().argsort(0)
    for replica in range(6):
        for k in range(4):
            expected = run.state.x[walker[k, replica], replica]
            assert torch.equal(run.x[-1, k, replica], expected)
    moved = run.level.long().diff(dim=0).abs()
    assert moved.max() == 1  # neighbours only
    assert run.samples(2).shape == (72, 12)


def test_precision_of_the_model_is_kept(rng: torch.Generator) -> None:
    kernel = HeatBath(make_glass(dtype=torch.float32))
    run = exchange_monte_carlo(kernel, BETAS.float(), 5, n_replicas=2, rng=rng)
    assert run.x.dtype == run.state.x.dtype == torch.float32
    assert run.mean_energy.dtype == run.acceptance.dtype == torch.float64


def test_progress_is_shown_on_demand(
    rng: torch.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange_monte_carlo(HeatBath(make_glass()), BETAS, 3, rng=rng)
    assert capsys.readouterr().err == ""
    exchange_monte_carlo(HeatBath(make_glass()), BETAS, 3, rng=rng, progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.bad_input
def test_bad_input_is_refused(rng: torch.Generator) -> None:
    kernel = HeatBath(make_glass())

    def run(betas=BETAS, n_sweeps=2, **options):
        return exchange_monte_carlo(kernel, betas, n_sweeps, rng=rng, **options)

    with pytest.raises(ValueError, match="increase"):
        run(BETAS.flip(0))
    with pytest.raises(ValueError, match="at least two"):
        run(BETAS[:1])
    with pytest.raises(ValueError, match="negative"):
        run(BETAS - 1)
    with pytest.raises(TypeError, match="floating-point"):
        run(torch.arange(3))
    with pytest.raises(ValueError, match="n_sweeps"):
        run(n_sweeps=0)
    with pytest.raises(TypeError, match="n_replicas"):
        run(n_replicas=2.0)
    with pytest.raises(ValueError, match="keep_every"):
        run(keep_every=0)
    good = run(n_replicas=3).state
    with pytest.raises(ValueError, match=r"initial\.x.*shape"):
        run(initial=good)  # n_replicas is one
    bad = [
        (good.x, good.level[:, :2], ValueError, "initial.level"),
        (good.x, good.level.float(), TypeError, "int64"),
        (good.x, torch.zeros_like(good.level), ValueError, "once in each column"),
        (good.x * 0.5, good.level, ValueError, "spin values"),
        (good.x.float(), good.level, TypeError, "dtype"),
    ]
    for x, level, error, words in bad:
        with pytest.raises(error, match=words):
            run(n_replicas=3, initial=ExchangeState(x, level, 2))
    with pytest.raises(ValueError, match=r"initial\.n_sweeps"):
        run(n_replicas=3, initial=ExchangeState(good.x, good.level, -1))
