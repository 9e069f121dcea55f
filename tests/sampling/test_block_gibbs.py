"""Block Gibbs sampling of an RBM against sums over both layers, written out here."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lecture_pkg.models import RBM, BoltzmannMachine
from lecture_pkg.sampling import BlockGibbs

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
UNITS = pytest.mark.parametrize("units", ["spin", "binary"])
BETAS = pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 1.7])
N_VISIBLE, N_HIDDEN = 4, 3


def make_kernel(units, rng, dtype=torch.float64):
    W, b, c, a = (
        torch.randn(*shape, dtype=torch.float64, generator=rng).to(dtype)
        for shape in ((N_VISIBLE, N_HIDDEN), (N_VISIBLE,), (N_HIDDEN,), (N_VISIBLE,))
    )
    return BlockGibbs(RBM.from_parameters(W, b, c, units), reference=a)


def listed(n, units):
    return np.array(list(itertools.product(VALUES[units], repeat=n)))


def joint(kernel, beta):
    """List the exponent of the path, (1 - β) aᵀx - β E(x, z), term by term: rows x, columns z."""
    x, z = listed(N_VISIBLE, kernel.units), listed(N_HIDDEN, kernel.units)
    model = kernel.model
    W, b, c = (p.detach().double().numpy() for p in (model.W, model.b, model.c))
    minus_energy = (x @ b)[:, None] + z @ c
    for k, m in itertools.product(range(N_VISIBLE), range(N_HIDDEN)):
        minus_energy += W[k, m] * np.outer(x[:, k], z[:, m])
    return (1 - beta) * (x @ kernel.reference.double().numpy())[:, None] + beta * minus_energy


def distribution(kernel, beta):
    log_weights = logsumexp(joint(kernel, beta), axis=1)
    return np.exp(log_weights - logsumexp(log_weights))


@UNITS
@BETAS
def test_transition_matrix_keeps_the_distribution_of_the_visible_units(units, beta, rng):
    """Seen on x alone the two half steps obey detailed balance too: with q(z|x') q(x') = q(x', z),

        w(x|x') q(x') = Σ_z q(x|z) q(z|x') q(x') = Σ_z q(x, z) q(x', z) / q(z),

    which is symmetric in x and x'. (The sweep of (x, z) as a whole is not reversible.)
    """
    kernel = make_kernel(units, rng)
    w, q = kernel.transition_matrix(beta).numpy(), distribution(kernel, beta)
    assert w.shape == (16, 16)
    assert (w > 0).all()
    np.testing.assert_allclose(w.sum(0), 1, atol=1e-13)
    np.testing.assert_allclose(w @ q, q, atol=1e-12)
    flow = w * q
    np.testing.assert_allclose(flow, flow.T, atol=1e-13)

    weights = np.exp(joint(kernel, beta))
    z_given_x = weights / weights.sum(1, keepdims=True)
    x_given_z = weights / weights.sum(0)
    np.testing.assert_allclose(w, x_given_z @ z_given_x.T, atol=1e-13)


@UNITS
def test_the_two_half_steps_together_are_not_reversible(units, rng):
    """On (x, z) a sweep draws z given x, then x given z: the flow between pairs has a direction."""
    weights = np.exp(joint(make_kernel(units, rng), 1.0))
    q = weights / weights.sum()
    x_given_z, z_given_x = q / q.sum(0), q / q.sum(1, keepdims=True)
    # w(x, z | x', z') = q(z|x') q(x|z)
    w = np.einsum("yz,xz->xzy", z_given_x, x_given_z)[..., None].repeat(2**N_HIDDEN, -1)
    w = w.reshape(q.size, q.size)
    np.testing.assert_allclose(w @ q.ravel(), q.ravel(), atol=1e-14)
    flow = w * q.ravel()
    assert np.abs(flow - flow.T).max() > 1e-3


@UNITS
def test_work_is_the_difference_of_free_energies(units, rng):
    kernel = make_kernel(units, rng)
    x = torch.from_numpy(listed(N_VISIBLE, units))
    for beta, beta_next in ((0.0, 0.4), (0.7, 1.0), (1.0, 0.2)):
        before, after = (-logsumexp(joint(kernel, b), axis=1) for b in (beta, beta_next))
        work = kernel.work(x, beta, beta_next)
        np.testing.assert_allclose(work, after - before, atol=1e-12)
    # It is not (β' - β) times an energy: the hidden units respond at once.
    energy = kernel.energy(x, 0.0)
    assert not np.allclose(kernel.work(x, 0.0, 0.5), 0.5 * energy, atol=1e-2)


@UNITS
@BETAS
def test_energy_is_the_derivative_of_the_free_energy(units, beta, rng):
    kernel = make_kernel(units, rng)
    step = 1e-5
    up, down = (-logsumexp(joint(kernel, beta + s), axis=1) for s in (step, -step))
    energy = kernel.energy(torch.from_numpy(listed(N_VISIBLE, units)), beta)
    np.testing.assert_allclose(energy, (up - down) / (2 * step), atol=1e-8)


@UNITS
def test_mean_energy_is_the_slope_of_log_z(units, rng):
    kernel = make_kernel(units, rng)
    beta, step = 0.6, 1e-5
    up, down = (logsumexp(joint(kernel, beta + s)) for s in (step, -step))
    energy = kernel.energy(torch.from_numpy(listed(N_VISIBLE, units)), beta).numpy()
    mean = distribution(kernel, beta) @ energy
    assert -mean == pytest.approx((up - down) / (2 * step), abs=1e-8)


@UNITS
def test_initial_chains_and_their_log_partition(units, rng):
    """16 cells of 200 000 draws within 5.7 standard errors: false alarm 16 · 1.2e-8 < 1e-6."""
    kernel, n = make_kernel(units, rng), 200_000
    log_z = float(kernel.initial_log_partition())
    assert log_z == pytest.approx(logsumexp(joint(kernel, 0.0)), abs=1e-12)
    _require_frequencies(kernel.initial(n, rng=rng), distribution(kernel, 0.0))


@UNITS
def test_log_partition_of_a_strong_reference_in_float32(units):
    """Mistake 2 of public code: ln(1 + e^x) overflows in the sum that annealing starts from."""
    a = torch.tensor([1e4, -1e3, 100.0, 0.5])
    kernel = BlockGibbs(RBM(4, 3, units, dtype=torch.float32), reference=a)
    assert torch.isinf((1 + a.exp()).log()).any()
    low = -1.0 if units == "spin" else 0.0
    truth = float(np.logaddexp(low * a.double().numpy(), a.double().numpy()).sum())
    assert float(kernel.initial_log_partition()) == pytest.approx(truth + 3 * np.log(2), rel=1e-12)


@UNITS
def test_sweeps_follow_the_column_of_the_matrix(units, rng):
    """Every chain has its own β, and starts from one of two states. Cells as above, four times:
    false alarm 64 · 1.2e-8 < 1e-6."""
    kernel, n = make_kernel(units, rng), 100_000
    states = torch.from_numpy(listed(N_VISIBLE, units))
    starts, betas = torch.tensor([5, 5, 12, 12]), torch.tensor([0.2, 1.0, 0.5, 1.4]).double()
    x = states[starts].repeat_interleave(n, 0)
    before = x.clone()
    swept = kernel.sweep(x, betas.repeat_interleave(n), rng=rng)
    assert torch.equal(x, before)
    columns = zip(swept.split(n), starts.tolist(), betas.tolist(), strict=True)
    for chains, start, beta in columns:
        _require_frequencies(chains, kernel.transition_matrix(beta)[:, start].numpy())


def _require_frequencies(chains, expected):
    digits = (chains > 0).long()
    cells = digits @ (2 ** torch.arange(N_VISIBLE - 1, -1, -1))
    n = len(chains)
    frequency = torch.bincount(cells, minlength=len(expected)).numpy() / n
    error = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(frequency - expected) < 5.7 * error + 10 / n).all()


@UNITS
def test_one_beta_for_each_chain_is_that_beta(units, rng):
    kernel = make_kernel(units, rng)
    x = torch.from_numpy(listed(N_VISIBLE, units))[:3]
    betas, betas_next = torch.tensor([[0.1, 0.8, 1.0], [0.3, 0.0, 1.2]], dtype=torch.float64)
    each = zip(x.split(1), betas.tolist(), betas_next.tolist(), strict=True)
    work, energy = kernel.work(x, betas, betas_next), kernel.energy(x, betas)
    for i, (row, beta, beta_next) in enumerate(each):
        assert float(work[i]) == pytest.approx(float(kernel.work(row, beta, beta_next)[0]))
        assert float(energy[i]) == pytest.approx(float(kernel.energy(row, beta)[0]))


@UNITS
def test_work_and_sweep_is_the_work_and_then_the_sweep(units, rng):
    kernel = make_kernel(units, rng)
    x = kernel.initial(50, rng=rng)
    work, swept = kernel.work_and_sweep(x, 0.2, 0.5, rng=torch.Generator().manual_seed(1))
    assert torch.equal(swept, kernel.sweep(x, 0.5, rng=torch.Generator().manual_seed(1)))
    assert torch.allclose(work, kernel.work(x, 0.2, 0.5), atol=1e-13)


@UNITS
def test_the_dtype_is_kept(units, rng):
    kernel = make_kernel(units, rng, torch.float32)
    x = kernel.initial(5, rng=rng)
    assert kernel.dtype == torch.float32
    assert x.dtype == torch.float32
    for tensor in (
        kernel.sweep(x, 0.5, rng=rng),
        kernel.sweep(x, torch.linspace(0, 1, 5).double(), rng=rng),
        kernel.energy(x, 0.5),
        kernel.work(x, 0.5, 0.6),
    ):
        assert tensor.dtype == torch.float32
        assert not tensor.requires_grad
    assert kernel.transition_matrix().dtype == torch.float64
    assert kernel.initial_log_partition().dtype == torch.float64


def test_the_kernel_follows_the_model_and_needs_no_reference(rng):
    kernel = BlockGibbs(RBM(2, 3, "binary", dtype=torch.float64))
    assert kernel.n_units == 2
    assert kernel.reference.tolist() == [0.0, 0.0]
    assert np.allclose(kernel.transition_matrix(), 0.25)
    with torch.no_grad():
        kernel.model.b.copy_(torch.tensor([50.0, -50.0]))
    assert float(kernel.transition_matrix()[2, 0]) == pytest.approx(1)
    assert kernel.sweep(torch.zeros(4, 2).double(), rng=rng).tolist() == [[1.0, 0.0]] * 4


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    model = RBM(2, 3, dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    machine = BoltzmannMachine(torch.zeros(2, 2).double(), zero)
    with pytest.raises(TypeError, match=r"RBM.*BoltzmannMachine.*use HeatBath"):
        BlockGibbs(machine)
    with pytest.raises(ValueError, match="reference must have shape"):
        BlockGibbs(model, reference=torch.zeros(3).double())
    with pytest.raises(TypeError, match="one dtype"):
        BlockGibbs(model, reference=zero.float())
    with pytest.raises(ValueError, match="reference must be finite"):
        BlockGibbs(model, reference=zero / 0)
    with pytest.raises(ValueError, match="n_chains must be at least 1"):
        BlockGibbs(model).initial(0, rng=rng)
