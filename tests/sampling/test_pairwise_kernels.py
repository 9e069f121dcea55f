"""Metropolis, heat bath, Suwa-Todo: matrices by hand, and the sweeps against the matrices."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from lecture_pkg._states import enumerate_states
from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import HeatBath, Metropolis, SuwaTodo

KERNELS = [
    pytest.param(lambda m, **k: Metropolis(m, **k), id="metropolis"),
    pytest.param(lambda m, **k: Metropolis(m, scan="random", **k), id="metropolis-random"),
    pytest.param(lambda m, **k: HeatBath(m, **k), id="heat_bath"),
    pytest.param(lambda m, **k: HeatBath(m, scan="random", **k), id="heat_bath-random"),
    pytest.param(lambda m, **k: SuwaTodo(m, **k), id="suwa_todo"),
]
UNITS = ("spin", "binary")


def machine(n, units, rng, scale=1.0, dtype=torch.float64):
    J = scale * torch.randn(n, n, generator=rng, dtype=torch.float64).triu(1)
    h = scale * torch.randn(n, generator=rng, dtype=torch.float64)
    return BoltzmannMachine((J + J.T).to(dtype), h.to(dtype), units)


def target(model, reference, beta):
    """Write the path of temperatures down state by state, in plain NumPy."""
    n = model.n_units
    J, h, a = (t.detach().double().numpy() for t in (model.J, model.h, reference))
    states = enumerate_states(0, 2**n, n, model.units).numpy()
    logs = []
    for x in states:
        minus_energy = sum(J[k, m] * x[k] * x[m] for m in range(n) for k in range(m)) + h @ x
        logs.append(beta * minus_energy + (1 - beta) * a @ x)
    weights = np.exp(np.array(logs) - max(logs))
    return states, weights / weights.sum()


def index_of(x):
    n = x.shape[1]
    return ((x > 0).long() * 2 ** torch.arange(n - 1, -1, -1)).sum(1)


def sweep_frequencies(kernel, states, beta, n_draws, rng):
    """Count where a sweep leads from every state; β is given chain by chain."""
    x = torch.as_tensor(states).to(kernel.dtype).repeat_interleave(n_draws, 0)
    y = kernel.sweep(x, torch.full((len(x),), beta, dtype=torch.float64), rng=rng)
    source = torch.arange(len(states)).repeat_interleave(n_draws)
    counts = torch.zeros(len(states), len(states), dtype=torch.float64)
    ones = torch.ones(len(x), dtype=torch.float64)
    return counts.index_put_((index_of(y), source), ones, accumulate=True).numpy()


def assert_counts(counts, matrix, n_draws):
    """Each count against its binomial law: false alarm 1e-6 for all entries together."""
    level = 1e-6 / counts.size / 2
    p = np.clip(matrix, 0, 1)
    assert (binom.cdf(counts, n_draws, p) > level).all()
    assert (binom.sf(counts - 1, n_draws, p) > level).all()


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0, 2.5])
def test_transition_matrix_is_stochastic_and_leaves_the_path_invariant(make, units, beta, rng):
    model = machine(5, units, rng)
    a = torch.randn(5, generator=rng, dtype=torch.float64)
    w = make(model, reference=a).transition_matrix(beta).numpy()
    _, q = target(model, a, beta)
    assert (w >= 0).all()
    assert np.abs(w.sum(0) - 1).max() < 1e-12
    assert np.abs(w @ q - q).max() < 1e-12


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sweep_follows_its_transition_matrix(make, units, dtype, rng):
    model = machine(5, units, rng, scale=0.7, dtype=dtype)
    a = torch.randn(5, generator=rng, dtype=torch.float64).to(dtype)
    kernel = make(model, reference=a)
    for beta in (0.0, 0.8):
        states, _ = target(model, a, beta)
        counts = sweep_frequencies(kernel, states, beta, 3000, rng)
        assert_counts(counts, kernel.transition_matrix(beta).numpy(), 3000)


def test_sweeps_of_many_blocks_draw_from_the_exact_distribution(rng):
    # 45 units, two whole blocks and a ragged last one; couplings reach across their boundaries.
    n, chains = 45, 5000
    order = torch.randperm(n, generator=rng)
    J = torch.zeros(n, n, dtype=torch.float64)
    for k in range(n - 1):
        J[order[k], order[k + 1]] = J[order[k + 1], order[k]] = (-1) ** k * 0.8
    h = torch.zeros(n, dtype=torch.float64)
    h[order[0]] = 0.5
    model = BoltzmannMachine(J, h)
    # spins along an open chain: ⟨s_k⟩ = tanh(h) Π tanh(J), by summing from the far end
    exact = torch.zeros(n, dtype=torch.float64)
    mean = np.tanh(0.5)
    for k in range(n):
        exact[order[k]] = mean
        mean *= np.tanh((-1) ** k * 0.8)
    for kernel in (Metropolis(model), HeatBath(model), SuwaTodo(model)):
        x = kernel.initial(chains, rng=rng)
        for _ in range(40):
            x = kernel.sweep(x, rng=rng)
        error = (x.mean(0) - exact).abs() / ((1 - exact**2) / chains).sqrt()
        assert error.max() < 6  # normal tail 2e-9 for each of 135 means: false alarm below 1e-6


@pytest.mark.parametrize("kind", [Metropolis, HeatBath])
@pytest.mark.parametrize("units", UNITS)
def test_random_scan_keeps_detailed_balance_and_sequential_scan_breaks_it(kind, units, rng):
    model = machine(4, units, rng)
    _, q = target(model, torch.zeros(4), 1.0)
    flow = kind(model, scan="random").transition_matrix().numpy() * q  # w(x|x') q(x')
    assert np.abs(flow - flow.T).max() < 1e-14
    flow = kind(model, scan="sequential").transition_matrix().numpy() * q
    assert np.abs(flow - flow.T).max() > 1e-3


def by_hand(n, units, q, rule):
    """The matrix of each unit's update, entry by entry, from the probabilities."""
    matrices = []
    for site in range(n):
        w = np.zeros((2**n, 2**n))
        for source in range(2**n):
            to = source ^ (1 << (n - 1 - site))
            w[to, source] = rule(q[to], q[source])
            w[source, source] = 1 - w[to, source]
        matrices.append(w)
    return matrices


RULES = {
    Metropolis: lambda to, source: min(1.0, to / source),
    HeatBath: lambda to, source: to / (to + source),
}


@pytest.mark.parametrize("kind", [Metropolis, HeatBath])
@pytest.mark.parametrize("units", UNITS)
def test_matrices_are_products_and_powers_of_single_updates(kind, units, rng):
    model = machine(3, units, rng)
    _, q = target(model, torch.zeros(3), 1.0)
    first, second, third = by_hand(3, units, q, RULES[kind])
    w = kind(model).transition_matrix().numpy()
    assert np.abs(w - third @ second @ first).max() < 1e-13
    mean = (first + second + third) / 3
    w = kind(model, scan="random").transition_matrix().numpy()
    assert np.abs(w - mean @ mean @ mean).max() < 1e-13


def landfill(weights):
    """The allocation as Suwa and Todo print it, largest weight first: v[i, j] from i to j."""
    n = len(weights)
    first = int(np.argmax(weights))
    order = [(first + k) % n for k in range(n)]
    w = np.array([weights[k] for k in order])
    S = np.concatenate([[w.sum()], np.cumsum(w)])  # S[0] stands for S_0 = S_n
    v = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            delta = S[i + 1] - S[j] + w[0]
            flow = max(0.0, min(delta, w[i] + w[j] - delta, w[i], w[j]))
            v[order[i], order[j]] = flow
    return v


@pytest.mark.parametrize("units", UNITS)
def test_suwa_todo_is_the_printed_allocation(units, rng):
    model = machine(2, units, rng, scale=0.4)
    _, q = target(model, torch.zeros(2), 1.0)
    w = SuwaTodo(model).transition_matrix().numpy()
    assert np.abs(w - landfill(q).T / q).max() < 1e-14


@pytest.mark.parametrize("units", UNITS)
def test_a_pair_breaks_detailed_balance_unless_one_state_outweighs_the_rest(units, rng):
    broken = kept = 0
    for _ in range(40):
        model = machine(2, units, rng, scale=1.0)
        _, q = target(model, torch.zeros(2), 1.0)
        w = SuwaTodo(model).transition_matrix().numpy()
        flow = w * q
        assert np.abs(w @ q - q).max() < 1e-14
        # no kernel with this balance can stay less often: the largest flows out at most to all
        assert abs(np.trace(flow) - max(0.0, 2 * q.max() - 1)) < 1e-14
        if q.max() < 0.5:
            assert np.abs(flow - flow.T).max() > 1e-3
            broken += 1
        else:
            assert np.abs(flow - flow.T).max() < 1e-14
            kept += 1
    assert broken > 5
    assert kept > 5


def test_an_odd_last_unit_moves_as_metropolis_does(rng):
    model = BoltzmannMachine(torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0.3]).double())
    w = SuwaTodo(model).transition_matrix()
    assert torch.allclose(w, Metropolis(model).transition_matrix(), atol=1e-15)


@pytest.mark.parametrize("make", KERNELS)
def test_an_rbm_is_the_machine_of_all_its_units(make, rng):
    W = torch.randn(3, 2, generator=rng, dtype=torch.float64)
    b = torch.randn(3, generator=rng, dtype=torch.float64)
    c = torch.randn(2, generator=rng, dtype=torch.float64)
    rbm = RBM.from_parameters(W, b, c, "binary")
    kernel = make(rbm)
    states = enumerate_states(0, 32, 5, "binary")
    energy = -((states[:, :3] @ W) * states[:, 3:]).sum(1) - states[:, :3] @ b - states[:, 3:] @ c
    q = (-0.7 * energy).softmax(0)
    w = kernel.transition_matrix(0.7)
    assert kernel.n_units == 5
    assert (w @ q - q).abs().max() < 1e-12
    with torch.no_grad():
        rbm.b += 1  # learning moves the parameters, and the kernel follows
    q = (-0.7 * (energy - states[:, :3].sum(1))).softmax(0)
    w = kernel.transition_matrix(0.7)
    assert (w @ q - q).abs().max() < 1e-12


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("units", UNITS)
def test_start_energy_and_work_follow_the_path(make, units, rng):
    """Mistake 10 of public code: the reference is a field, with the sign that is documented."""
    model = machine(4, units, rng)
    a = torch.randn(4, generator=rng, dtype=torch.float64)
    kernel = make(model, reference=a)
    states, q0 = target(model, a, 0.0)
    x = torch.as_tensor(states)
    log_z0 = float(kernel.initial_log_partition())
    assert abs(log_z0 - np.log(np.exp(states @ a.numpy()).sum())) < 1e-12
    minus_log_q = -np.log(target(model, a, 0.9)[1]) + np.log(target(model, a, 0.2)[1])
    work = kernel.work(x, 0.2, torch.full((16,), 0.9, dtype=torch.float64)).numpy()
    gap = work - minus_log_q
    assert np.abs(gap - gap[0]).max() < 1e-12  # equal up to ln Z_0.9 - ln Z_0.2
    slope = kernel.energy(x, 0.4).numpy()
    assert np.abs(slope * 0.7 - work).max() < 1e-12
    drawn = index_of(kernel.initial(50_000, rng=rng)).bincount(minlength=16).numpy()
    assert_counts(drawn, q0, 50_000)


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_strong_couplings_and_biases_stay_finite_and_right(make, units, dtype, rng):
    # Frozen: every unit has one value far more probable than the other, wherever the others are.
    n = 12
    sign = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0).to(dtype)
    J = 20 * (1 if units == "spin" else 0.2) * torch.ones(n, n, dtype=dtype).triu(1) * sign[0]
    h = 100 * sign * (3 if units == "spin" else 1)
    kernel = make(BoltzmannMachine(J + J.T, h, units))
    x = kernel.initial(500, rng=rng)
    for _ in range(20):
        x = kernel.sweep(x, rng=rng)
    assert x.dtype == dtype
    frozen = sign if units == "spin" else (sign + 1) / 2
    assert bool((x == frozen).all())
    w = make(machine(5, units, rng, scale=60.0, dtype=dtype)).transition_matrix()
    assert bool(torch.isfinite(w).all())
    assert (w.sum(0) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("make", KERNELS)
def test_a_ferromagnet_of_coupling_20_stays_on_its_side(make, rng):
    J = torch.full((6, 6), 20.0).fill_diagonal_(0)  # float32; to turn one spin costs 200
    kernel = make(BoltzmannMachine(J, torch.zeros(6)))
    x = torch.ones(100, 6)
    for _ in range(50):
        x = kernel.sweep(x, rng=rng)
    assert bool((x == 1).all())


@pytest.mark.parametrize("make", KERNELS)
def test_one_temperature_a_chain_leaves_each_at_its_own_distribution(make, rng):
    model = machine(3, "spin", rng)
    a = torch.randn(3, generator=rng, dtype=torch.float64)
    kernel = make(model, reference=a)
    betas = torch.tensor([0.0, 0.5, 1.3], dtype=torch.float64)
    n_draws = 4000
    states, _ = target(model, a, 0.0)
    x = torch.as_tensor(states).repeat_interleave(3 * n_draws, 0)
    beta = betas.repeat(8 * n_draws)
    y = kernel.sweep(x, beta, rng=rng)
    for k, value in enumerate(betas.tolist()):
        counts = torch.zeros(8, 8, dtype=torch.float64)
        picked = slice(k, None, 3)
        ones = torch.ones(8 * n_draws, dtype=torch.float64)
        pair = (index_of(y[picked]), index_of(x[picked]))
        counts = counts.index_put_(pair, ones, accumulate=True).numpy()
        assert_counts(counts, kernel.transition_matrix(value).numpy(), n_draws)


@pytest.mark.parametrize("make", KERNELS)
def test_a_sweep_repeats_with_the_generator_and_leaves_its_input_alone(make, rng):
    kernel = make(machine(13, "spin", rng))
    x = kernel.initial(7, rng=rng)
    kept = x.clone()
    once = kernel.sweep(x, 0.5, rng=torch.Generator().manual_seed(3))
    again = kernel.sweep(x, torch.full((7,), 0.5), rng=torch.Generator().manual_seed(3))
    assert torch.equal(x, kept)
    assert torch.equal(once, again)
    assert bool((once.abs() == 1).all())
    assert once.shape == x.shape


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", [Metropolis, HeatBath, SuwaTodo])
def test_bad_input_is_refused(kind, rng):
    model = machine(3, "spin", rng)
    with pytest.raises(TypeError, match="couple in pairs"):
        kind(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"reference must have shape \(3\)"):
        kind(model, reference=torch.zeros(4, dtype=torch.float64))
    with pytest.raises(TypeError, match="one dtype"):
        kind(model, reference=torch.zeros(3, dtype=torch.float32))
    kernel = kind(model)
    with pytest.raises(TypeError, match="one dtype"):
        kernel.sweep(torch.ones(2, 3, dtype=torch.float32), rng=rng)
    with pytest.raises(ValueError, match=r"x must have shape \(\*, 3\)"):
        kernel.sweep(torch.ones(2, 4, dtype=torch.float64), rng=rng)
    with pytest.raises(ValueError, match="beta must not be negative"):
        kernel.sweep(torch.ones(2, 3, dtype=torch.float64), torch.tensor([0.5, -1]), rng=rng)
    with pytest.raises(ValueError, match="at most 13 units"):
        kind(machine(14, "spin", rng)).transition_matrix()


@pytest.mark.bad_input
def test_an_unknown_scan_is_refused(rng):
    with pytest.raises(ValueError, match='scan must be "sequential" or "random"'):
        HeatBath(machine(3, "spin", rng), scan="typewriter")
