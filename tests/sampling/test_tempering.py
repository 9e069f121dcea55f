"""Simulated tempering against exact sums: a glass of 12 spins, an RBM with 8 x 16 units.

Bounds on total variation: for n independent draws from p, the mean distance is at most
½ Σ sqrt(p (1 - p) / n), and it is exceeded by ε with probability at most exp(-2 n ε²) (McDiarmid's
inequality). The draws are the final states of independent chains, one for each chain.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import (
    BlockGibbs,
    HeatBath,
    TemperingState,
    adapt_tempering_weights,
    simulated_tempering,
    tempering_weights,
)

FALSE_ALARM = 1e-7  # of each comparison
SIGMAS = 5.4  # two-sided, the same for a normal variable
BETAS = torch.tensor([0.0, 0.35, 0.7, 1.0], dtype=torch.float64)


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


def index_of(x: Tensor) -> Tensor:
    powers = 2 ** torch.arange(x.shape[-1] - 1, -1, -1)
    return ((x > 0) * powers).sum(-1)


def allowed_distance(p: Tensor, n: int) -> float:
    mean = 0.5 * (p * (1 - p) / n).sqrt().sum()
    return float(mean + math.sqrt(-math.log(FALSE_ALARM) / (2 * n)))


def distance(indices: Tensor, p: Tensor) -> float:
    fractions = torch.bincount(indices, minlength=len(p)) / len(indices)
    return float(0.5 * (fractions - p).abs().sum())


def derivative(free_energies, betas: Tensor) -> Tensor:
    step = 1e-5
    return (free_energies(betas + step) - free_energies(betas - step)) / (2 * step)


@pytest.mark.parametrize("case", CASES)
def test_every_temperature_is_sampled_exactly_and_the_levels_evenly(
    case: str, rng: torch.Generator
) -> None:
    make, free_energies = CASES[case]
    F = free_energies(BETAS)
    log_z = (-F).logsumexp(1)
    q = (-F - log_z[:, None]).exp()
    n = 60_000
    # After 60 sweeps the RBM's joint distribution is 4e-4 from the stationary one in total
    # variation, as the product of its matrices gave once; the glass relaxes faster.
    run = simulated_tempering(make(), BETAS, n, 60, weights=-log_z, keep_every=60, rng=rng)
    x, level = run.state.x, run.state.level
    for k in range(len(BETAS)):
        at_k = index_of(x[level == k])
        assert distance(at_k, q[k]) < allowed_distance(q[k], len(at_k))
        assert torch.equal(run.samples(k), x[level == k])
        assert abs(len(at_k) / n - 0.25) < SIGMAS * math.sqrt(0.25 * 0.75 / n)
    late = simulated_tempering(
        make(), BETAS, 2000, 40, weights=-log_z, initial=first(run.state, 2000), rng=rng
    )
    energy = (q * derivative(free_energies, BETAS)).sum(1)
    assert ((late.mean_energy - energy).abs() < SIGMAS * late.mean_energy_error + 1e-9).all()
    assert (late.mean_energy_error < 0.1).all()


def first(state: TemperingState, n: int) -> TemperingState:
    return TemperingState(state.x[:n].clone(), state.level[:n].clone())


def one_step_exactly(p: Tensor, F: Tensor, g: Tensor, sweeps: list[Tensor]) -> Tensor:
    """Carry the distribution over (level, state) through a sweep and a move of level."""
    p = torch.stack([w @ row for w, row in zip(sweeps, p, strict=True)])
    moved = p.clone()
    for k in range(len(p) - 1):
        up = 0.5 * p[k] * (F[k] - F[k + 1] + g[k + 1] - g[k]).exp().clamp(max=1)
        down = 0.5 * p[k + 1] * (F[k + 1] - F[k] + g[k] - g[k + 1]).exp().clamp(max=1)
        moved[k] += down - up
        moved[k + 1] += up - down
    return moved


def rbm_matrices(n: int, m: int) -> tuple[BlockGibbs, list[Tensor]]:
    kernel = BlockGibbs(make_rbm(n, m), reference=REFERENCE[:n])
    return kernel, [kernel.transition_matrix(float(beta)) for beta in BETAS]


def test_a_few_sweeps_have_the_distribution_that_the_matrices_give(rng: torch.Generator) -> None:
    """Mistake 6 of public code: a β on what is no energy, here on the weights of the levels."""
    F = rbm_free_energies(BETAS, 4, 6)
    g = torch.tensor([0.0, -1.0, 0.7, -2.0], dtype=torch.float64) - (-F).logsumexp(1)  # wrong
    kernel, sweeps = rbm_matrices(4, 6)
    p = torch.zeros_like(F)
    p[0] = (-F[0]).softmax(0)
    n, accepted, proposed = 100_000, p.new_zeros(3), p.new_zeros(3)
    for _ in range(6):
        swept = torch.stack([w @ row for w, row in zip(sweeps, p, strict=True)])
        up = (F[:-1] - F[1:] + g.diff()[:, None]).exp().clamp(max=1)
        down = (F[1:] - F[:-1] - g.diff()[:, None]).exp().clamp(max=1)
        accepted += n * 0.5 * ((swept[:-1] * up).sum(1) + (swept[1:] * down).sum(1))
        proposed += n * 0.5 * (swept[:-1].sum(1) + swept[1:].sum(1))
        p = one_step_exactly(p, F, g, sweeps)
    run = simulated_tempering(kernel, BETAS, n, 6, weights=g, keep_every=6, rng=rng)
    found = run.state.level * 16 + index_of(run.state.x)
    assert distance(found, p.flatten()) < allowed_distance(p.flatten(), n) < 0.02
    error = SIGMAS * (0.25 / proposed).sqrt() * math.sqrt(6)  # proposals of a chain: 6 at most
    assert ((run.acceptance - accepted / proposed).abs() < error).all()
    joint = (g[:, None] - F).flatten().softmax(0)
    assert distance(found, joint) > 2 * allowed_distance(joint, n)  # far from equilibrium still


def test_these_steps_lead_to_the_joint_distribution() -> None:
    F = rbm_free_energies(BETAS, 8, 10)
    _, sweeps = rbm_matrices(8, 10)
    even = -(-F).logsumexp(1)
    for g in (even, torch.tensor([0.0, -1.0, 0.7, -2.0], dtype=torch.float64) + even):
        p = torch.zeros_like(F)
        p[0] = (-F[0]).softmax(0)
        for _ in range(1500):
            p = one_step_exactly(p, F, g, sweeps)
        joint = (g[:, None] - F).flatten().softmax(0).reshape(F.shape)
        assert (p - joint).abs().max() < 1e-12
        assert (one_step_exactly(joint, F, g, sweeps) - joint).abs().max() < 1e-15


@pytest.mark.parametrize("case", CASES)
def test_wrong_weights_give_the_predicted_histogram(case: str, rng: torch.Generator) -> None:
    make, free_energies = CASES[case]
    log_z = (-free_energies(BETAS)).logsumexp(1)
    g = torch.tensor([0.0, 0.6, -0.5, 0.9], dtype=torch.float64) - log_z
    p = (log_z + g).softmax(0)
    n = 30_000
    run = simulated_tempering(make(), BETAS, n, 80, weights=g, keep_every=80, rng=rng)
    found = torch.bincount(run.state.level, minlength=4) / n
    assert ((found - p).abs() < SIGMAS * (p * (1 - p) / n).sqrt()).all()
    assert (p - 0.25).abs().max() > 20 * 0.5 / math.sqrt(n)  # far from uniform


@pytest.mark.parametrize("case", CASES)
def test_adapted_weights_are_the_free_energies(case: str, rng: torch.Generator) -> None:
    make, free_energies = CASES[case]
    log_z = (-free_energies(BETAS)).logsumexp(1)
    learned = adapt_tempering_weights(make(), BETAS, 200, 1500, rng=rng)
    # Standard deviation over 20 seeds: below 0.012; from zeros the weights start 5 nats away.
    assert learned.weights[0] == 0
    assert (learned.weights + log_z - log_z[0]).abs().max() < 0.08
    assert log_z[-1] - log_z[0] > 5
    assert torch.equal(learned.history[-1], learned.weights)
    moves = learned.history.diff(dim=0).abs().amax(1)
    assert moves[-100:].max() < moves[:100].max() / 50


def test_adaptation_of_one_walker_is_the_documented_rule(rng: torch.Generator) -> None:
    learned = adapt_tempering_weights(HeatBath(make_glass()), BETAS, 1, 60, first_phase=40, rng=rng)
    g = torch.zeros(4, dtype=torch.float64)
    for t, level in enumerate(learned.level[:, 0].tolist(), start=1):
        gain = min(0.25, t**-0.6 if t <= 40 else 1 / (t - 40 + 40**0.6))
        g[level] -= 4 * gain
        g -= g[0].clone()
    torch.testing.assert_close(learned.weights, g)


def test_trapezoids_approach_the_free_energy_with_the_square_of_the_step() -> None:
    errors = []
    for n in (5, 9, 17, 33):
        betas = torch.linspace(0, 1, n, dtype=torch.float64)
        F = glass_free_energies(betas)
        mean = (F.mul(-1).softmax(1) * glass_free_energies(torch.ones(1).double())).sum(1)
        log_z = (-F).logsumexp(1)
        g = tempering_weights(betas, mean)
        assert g.dtype == torch.float64
        errors.append(float((g + log_z - log_z[0]).abs()[-1]))
    for coarse, fine in itertools.pairwise(errors):
        assert 3.5 < coarse / fine < 4.5


def test_trapezoids_on_an_uneven_ladder() -> None:
    betas = torch.tensor([0.0, 0.5, 0.6, 2.0])
    energies = torch.tensor([1.0, -3.0, -5.0, -6.0])
    expected = torch.tensor([0.0, -0.5, -0.9, -8.6]).double()
    torch.testing.assert_close(tempering_weights(betas, energies), expected, rtol=0, atol=1e-6)


def test_a_constant_in_the_weights_changes_nothing() -> None:
    # Multiplied by β, as in one published package, it would.
    g = torch.tensor([0.0, 0.3, -0.2, 1.0], dtype=torch.float64)
    runs = [
        simulated_tempering(
            HeatBath(make_glass()),
            BETAS,
            50,
            20,
            weights=g + shift,
            rng=torch.Generator().manual_seed(1),
        )
        for shift in (0.0, 512.0)
    ]
    assert torch.equal(runs[0].level, runs[1].level)
    assert torch.equal(runs[0].x, runs[1].x)


@pytest.mark.parametrize("case", CASES)
def test_two_runs_are_one_long_run(case: str) -> None:
    kernel = CASES[case][0]()
    g = torch.tensor([0.0, -1.0, -3.0, -5.0], dtype=torch.float64)
    rng = torch.Generator().manual_seed(3)
    whole = simulated_tempering(kernel, BETAS, 7, 30, weights=g, rng=rng)
    rng.manual_seed(3)
    a = simulated_tempering(kernel, BETAS, 7, 12, weights=g, rng=rng)
    before = a.state.x.clone(), a.state.level.clone()
    b = simulated_tempering(kernel, BETAS, 7, 18, weights=g, initial=a.state, rng=rng)
    assert torch.equal(torch.cat([a.x, b.x]), whole.x)
    assert torch.equal(torch.cat([a.level, b.level]), whole.level)
    assert torch.equal(a.visits + b.visits, whole.visits)
    assert torch.equal(before[0], a.state.x)
    assert torch.equal(before[1], a.state.level)


def test_two_adaptations_are_one_long_adaptation() -> None:
    kernel = HeatBath(make_glass())
    rng = torch.Generator().manual_seed(4)
    whole = adapt_tempering_weights(kernel, BETAS, 5, 60, first_phase=25, rng=rng)
    rng.manual_seed(4)
    a = adapt_tempering_weights(kernel, BETAS, 5, 20, first_phase=25, rng=rng)
    b = adapt_tempering_weights(kernel, BETAS, 5, 40, first_phase=25, initial=a, rng=rng)
    assert torch.equal(torch.cat([a.history, b.history]), whole.history)
    assert torch.equal(b.state.x, whole.state.x)
    assert b.n_sweeps == 60


def test_what_is_kept_and_counted(rng: torch.Generator) -> None:
    kernel = HeatBath(make_glass())
    g = torch.zeros(4, dtype=torch.float64)
    run = simulated_tempering(kernel, BETAS, 9, 20, weights=g, keep_every=6, rng=rng)
    assert run.x.shape == (3, 9, 12)
    assert run.level.shape == (20, 9)
    assert torch.equal(run.visits, torch.bincount(run.level.flatten(), minlength=4))
    assert sum(len(run.samples(k)) for k in range(4)) == 27
    assert torch.equal(run.samples(0), run.x[run.level[[5, 11, 17]] == 0])
    assert (run.level.diff(dim=0).abs() <= 1).all()
    assert (run.level[0] <= 1).all()


def test_float32_chains_stay_float32_and_weights_float64(rng: torch.Generator) -> None:
    kernel = HeatBath(make_glass(torch.float32))
    betas = BETAS.float()
    run = simulated_tempering(kernel, betas, 50, 10, weights=torch.zeros(4), rng=rng)
    assert run.x.dtype == torch.float32
    assert run.mean_energy.dtype == torch.float64
    learned = adapt_tempering_weights(kernel, betas, 50, 10, rng=rng)
    assert learned.weights.dtype == torch.float64


def test_a_level_nobody_came_to_is_reported_as_unknown(rng: torch.Generator) -> None:
    g = torch.tensor([0.0, -1000.0, 0.0, 0.0], dtype=torch.float64)
    run = simulated_tempering(HeatBath(make_glass()), BETAS, 20, 10, weights=g, rng=rng)
    assert run.visits.tolist() == [200, 0, 0, 0]
    assert run.acceptance[0] == 0
    assert run.acceptance[1:].isnan().all()
    assert run.mean_energy[1:].isnan().all()
    assert run.mean_energy_error[1:].isnan().all()
    alone = simulated_tempering(HeatBath(make_glass()), BETAS, 1, 10, weights=g, rng=rng)
    assert alone.mean_energy_error[0].isnan()  # one chain says nothing about its spread


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"betas": [0.0, 0.5, 0.5]}, TypeError, "betas must be a torch.Tensor"),
        ({"betas": torch.tensor([0.0, 1.0, 0.5])}, ValueError, "increase"),
        ({"betas": torch.tensor([0, 1, 2])}, TypeError, "floating-point"),
        ({"betas": torch.tensor([-0.5, 0.0, 1.0])}, ValueError, "negative"),
        ({"betas": torch.tensor([])}, ValueError, "empty"),
        ({"betas": torch.tensor([0.0, 1.0, torch.inf])}, ValueError, "finite"),
        ({"weights": torch.zeros(4)}, ValueError, "weights must have shape"),
        ({"weights": torch.tensor([0.0, torch.nan, 0.0])}, ValueError, "weights must be finite"),
        ({"n_chains": 0}, ValueError, "n_chains must be at least 1"),
        ({"n_sweeps": 2.5}, TypeError, "n_sweeps must be an integer"),
        ({"keep_every": 0}, ValueError, "keep_every"),
        (
            {"initial": (torch.ones(3, 12).double(), torch.zeros(3).long())},
            ValueError,
            "initial must have shape",
        ),
        (
            {"initial": (torch.zeros(5, 12).double(), torch.zeros(5).long())},
            ValueError,
            "spin values",
        ),
        (
            {"initial": (torch.ones(5, 12), torch.zeros(5).long())},
            TypeError,
            "dtype",
        ),
        (
            {"initial": (torch.ones(5, 12).double(), torch.full((5,), 3))},
            ValueError,
            "between 0 and 2",
        ),
        (
            {"initial": (torch.ones(5, 12).double(), torch.zeros(5))},
            TypeError,
            "int64",
        ),
    ],
)
def test_bad_input_is_refused(
    change: dict, error: type[Exception], match: str, rng: torch.Generator
) -> None:
    good = {
        "betas": torch.tensor([0.0, 0.5, 1.0]),
        "n_chains": 5,
        "n_sweeps": 4,
        "weights": torch.zeros(3),
    }
    given = good | change
    if "initial" in given:
        given["initial"] = TemperingState(*given["initial"])
    with pytest.raises(error, match=match):
        simulated_tempering(HeatBath(make_glass()), **given, rng=rng)


@pytest.mark.bad_input
def test_adaptation_refuses_two_starts(rng: torch.Generator) -> None:
    kernel = HeatBath(make_glass())
    done = adapt_tempering_weights(kernel, BETAS, 2, 2, rng=rng)
    with pytest.raises(ValueError, match="initial, which holds them"):
        adapt_tempering_weights(kernel, BETAS, 2, 2, initial=done, weights=done.weights, rng=rng)
    with pytest.raises(ValueError, match="first_phase"):
        adapt_tempering_weights(kernel, BETAS, 2, 2, first_phase=0, rng=rng)


@pytest.mark.bad_input
def test_trapezoids_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="mean_energies must have shape"):
        tempering_weights(BETAS, torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        tempering_weights(BETAS, torch.full((4,), torch.nan))
