"""Every expected update is written out by enumeration: transition matrices and averages over them.

The mean of an estimator over 100 calls is compared with its exact expectation. An entry of one call
is a mean of statistics in [-1, 1] over more than a thousand chains, minus a fixed data term: it is
normal to high accuracy. All bounds below are 6 standard errors as measured over the calls, so that
the ratio is Student's t with 99 degrees of freedom: a false alarm of 3e-8 an entry, below 1e-6
for all entries of a test, which are 19 at most. Few calls of many chains cost the least.
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lecture_pkg.learning import (
    ContrastiveDivergence,
    PersistentContrastiveDivergence,
    fit,
)
from lecture_pkg.models import RBM, BoltzmannMachine

VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
N_VISIBLE, N_HIDDEN = 4, 3


def configurations(n: int, units: str) -> Tensor:
    return torch.tensor(list(itertools.product(VALUES[units], repeat=n)), dtype=torch.float64)


def rbm(units: str, scale: float = 0.9, dtype: torch.dtype = torch.float64) -> RBM:
    rng = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, generator=rng, dtype=torch.float64)

    W, b, c = normal(N_VISIBLE, N_HIDDEN), normal(N_VISIBLE), normal(N_HIDDEN)
    return RBM.from_parameters(W.to(dtype), b.to(dtype), c.to(dtype), units)


def machine(units: str, scale: float = 0.7) -> BoltzmannMachine:
    rng = torch.Generator().manual_seed(6)
    raw = scale * torch.randn(N_VISIBLE, N_VISIBLE, generator=rng, dtype=torch.float64)
    h = scale * torch.randn(N_VISIBLE, generator=rng, dtype=torch.float64)
    return BoltzmannMachine(raw.triu(1) + raw.triu(1).T, h, units)


def data(units: str, n: int = 11) -> Tensor:
    """Asymmetric data, of a number of rows that no batch size below divides."""
    rng = torch.Generator().manual_seed(7)
    low, high = VALUES[units]
    on = torch.rand(n, N_VISIBLE, generator=rng, dtype=torch.float64)
    on[:, 2] = 0.5 * on[:, 2] + 0.5 * on[:, 0]
    on = on > torch.tensor([0.3, 0.6, 0.5, 0.8], dtype=torch.float64)
    return torch.where(on, high, low).to(torch.float64)


def conditionals(model: RBM) -> tuple[Tensor, Tensor, Tensor]:
    """Return q(z|x), q(x|z) and q(x, z) as tables [x, z], from the energy of (4.1) alone."""
    x, z = configurations(N_VISIBLE, model.units), configurations(N_HIDDEN, model.units)
    W, b, c = (p.detach().double() for p in (model.W, model.b, model.c))
    log_weight = x @ W @ z.T + (x @ b)[:, None] + (z @ c)[None]
    joint = (log_weight - log_weight.flatten().logsumexp(0)).exp()
    return log_weight.softmax(1), log_weight.softmax(0), joint


def block_gibbs_matrix(model: RBM) -> Tensor:
    z_given_x, x_given_z, _ = conditionals(model)
    return x_given_z @ z_given_x.T  # [x, x']


def heat_bath_matrix(model: BoltzmannMachine) -> Tensor:
    """One sweep in order, from the conditional of each unit by dividing probabilities."""
    x = configurations(N_VISIBLE, model.units)
    J, h = model.J.detach(), model.h.detach()
    q = (x @ h + 0.5 * torch.einsum("sk,kl,sl->s", x, J, x)).softmax(0)
    sweep = torch.eye(len(x), dtype=torch.float64)
    for k in range(N_VISIBLE):
        others = [i for i in range(N_VISIBLE) if i != k]
        same = (x[:, None, others] == x[None, :, others]).all(-1).double()
        sweep = (q[:, None] * same / (same @ q)[None]) @ sweep
    torch.testing.assert_close(sweep @ q, q, rtol=0, atol=1e-14)
    return sweep


def empirical(x: Tensor, units: str) -> Tensor:
    states = configurations(x.shape[1], units)
    return (x[:, None] == states).all(-1).double().mean(0)


def statistics(model: RBM | BoltzmannMachine, p: Tensor) -> list[Tensor]:
    """Averages of the sufficient statistics under the distribution p of the visible units."""
    x = configurations(N_VISIBLE, model.units)
    if isinstance(model, RBM):
        z = conditionals(model)[0] @ configurations(N_HIDDEN, model.units)  # E[z | x]
        return [torch.einsum("s,si,sj->ij", p, x, z), p @ x, p @ z]
    pairs = list(itertools.combinations(range(N_VISIBLE), 2))
    return [torch.stack([p @ (x[:, i] * x[:, j]) for i, j in pairs]), p @ x]


def expected_gradient(
    model: RBM | BoltzmannMachine, x: Tensor, p_model: Tensor, centered: bool
) -> list[Tensor]:
    """Model average minus data average; centred, it is written out in the centred variables."""
    p0 = empirical(x, model.units)
    at_model, at_data = statistics(model, p_model), statistics(model, p0)
    if not centered:
        return [a - b for a, b in zip(at_model, at_data, strict=True)]
    states = configurations(N_VISIBLE, model.units)
    mu = p0 @ states
    if isinstance(model, RBM):
        z = conditionals(model)[0] @ configurations(N_HIDDEN, model.units)
        lam = p0 @ z
        product = (states - mu)[:, :, None] * (z - lam)[:, None, :]
        w = torch.einsum("s,sij->ij", p_model - p0, product)
        return [w, (p_model - p0) @ states - w @ lam, (p_model - p0) @ z - w.T @ mu]
    product = (states - mu)[:, :, None] * (states - mu)[:, None, :]
    j = torch.einsum("s,sij->ij", p_model - p0, product).fill_diagonal_(0)
    upper = torch.triu_indices(N_VISIBLE, N_VISIBLE, offset=1)
    return [j[upper[0], upper[1]], (p_model - p0) @ states - j @ mu]


def averaged(
    model: torch.nn.Module, call: Callable[[], object], n_calls: int = 100
) -> list[tuple[Tensor, Tensor]]:
    """Mean of `.grad` over the calls with its standard error, entry by entry."""
    seen: list[list[Tensor]] = [[] for _ in model.parameters()]
    for _ in range(n_calls):
        assert call() is None
        for gradients, p in zip(seen, model.parameters(), strict=True):
            gradients.append(p.grad.clone())
    stacked = [torch.stack(g) for g in seen]
    return [(s.mean(0), s.std(0) / math.sqrt(n_calls)) for s in stacked]


def assert_within_errors(found: list[tuple[Tensor, Tensor]], expected: list[Tensor]) -> None:
    for (mean, error), right in zip(found, expected, strict=True):
        assert bool(((mean - right).abs() <= 6 * error + 1e-12).all()), (mean - right) / error
        assert float(error.max()) < 0.02  # sharp enough to tell right from wrong


def wide(x: Tensor, copies: int) -> Tensor:
    return x.repeat(copies, 1)


@pytest.mark.equation("7.25")
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("units", VALUES)
def test_cd_of_an_rbm_is_the_difference_after_k_sweeps(units: str, k: int, centered: bool) -> None:
    """E[CD-k] = statistics under w^k p0 minus statistics under p0, hidden units by their means."""
    model, x = rbm(units), data(units)
    p_k = torch.linalg.matrix_power(block_gibbs_matrix(model), k) @ empirical(x, units)
    estimator = ContrastiveDivergence(k, rng=torch.Generator().manual_seed(1), centered=centered)
    found = averaged(model, lambda: estimator(model, wide(x, 160)))
    expected = expected_gradient(model, x, p_k, centered)
    assert_within_errors(found, expected)
    if k == 1:  # three sweeps of this model are close to the model: too close to tell apart
        exact = expected_gradient(model, x, conditionals(model)[2].sum(1), centered)
        assert max(float((a - b).abs().max()) for a, b in zip(expected, exact, strict=True)) > 0.02


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("units", VALUES)
def test_cd_of_a_boltzmann_machine_is_the_difference_after_k_sweeps(
    units: str, centered: bool
) -> None:
    model, x = machine(units), data(units)
    p_2 = torch.linalg.matrix_power(heat_bath_matrix(model), 2) @ empirical(x, units)
    estimator = ContrastiveDivergence(2, rng=torch.Generator().manual_seed(2), centered=centered)
    found = averaged(model, lambda: estimator(model, wide(x, 120)))
    assert_within_errors(found, expected_gradient(model, x, p_2, centered))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("kind", ["rbm", "machine"])
@pytest.mark.parametrize("units", VALUES)
def test_pcd_with_chains_of_the_model_is_the_exact_gradient(
    units: str, kind: str, centered: bool
) -> None:
    """Mistake 5 too: 1500 chains against 11 samples, each average divided by its own count."""
    model = rbm(units) if kind == "rbm" else machine(units)
    x, states = data(units), configurations(N_VISIBLE, units)
    if isinstance(model, RBM):
        q = conditionals(model)[2].sum(1)
    else:
        J, h = model.J.detach(), model.h.detach()
        q = (states @ h + 0.5 * torch.einsum("sk,kl,sl->s", states, J, states)).softmax(0)
    rng = torch.Generator().manual_seed(3)

    def call() -> None:
        drawn = states[torch.multinomial(q, 1500, replacement=True, generator=rng)]
        estimator = PersistentContrastiveDivergence(
            2, 1500, rng=rng, centered=centered, initial=drawn
        )
        estimator(model, x)

    found = averaged(model, call)
    assert_within_errors(found, expected_gradient(model, x, q, centered))


@pytest.mark.parametrize("kind", ["rbm", "machine"])
def test_tempered_chains_reach_the_exact_gradient(kind: str) -> None:
    """Chains that exchange temperatures have the model as their limit at the coldest level."""
    units = "spin"
    model = rbm(units, 1.5) if kind == "rbm" else machine(units, 1.2)
    x, states = data(units), configurations(N_VISIBLE, units)
    if isinstance(model, RBM):
        q = conditionals(model)[2].sum(1)
    else:
        J, h = model.J.detach(), model.h.detach()
        q = (states @ h + 0.5 * torch.einsum("sk,kl,sl->s", states, J, states)).softmax(0)
    betas = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    estimator = PersistentContrastiveDivergence(
        12, 2000, rng=torch.Generator().manual_seed(11), betas=betas
    )
    estimator(model, x)
    estimator(model, x)  # 24 rounds behind them; 12 rounds lie between two calls
    found = averaged(model, lambda: estimator(model, x), 15)
    # only 15 calls stand behind an error: 14 of Student's t with 14 degrees of freedom, 1e-9
    for (mean, error), right in zip(found, expected_gradient(model, x, q, False), strict=True):
        assert bool(((mean - right).abs() <= 14 * error + 1e-12).all())
        assert float(error.max()) < 0.01


@pytest.mark.parametrize("units", VALUES)
def test_pcd_goes_on_where_it_stopped(units: str) -> None:
    """After t calls of k sweeps chains that began together are distributed as w^(kt) from there."""
    model, x = rbm(units), data(units)
    states = configurations(N_VISIBLE, units)
    start = torch.zeros(len(states), dtype=torch.float64)
    start[5] = 1.0
    rng = torch.Generator().manual_seed(4)
    estimator = PersistentContrastiveDivergence(
        2, 20_000, rng=rng, initial=states[5].expand(20_000, -1).clone()
    )
    matrix = block_gibbs_matrix(model)
    for t in (1, 2):
        estimator(model, x)
        expected = torch.linalg.matrix_power(matrix, 2 * t) @ start
        assert estimator.chains is not None
        found = empirical(estimator.chains, units)
        # 16 counts, each binomial: 6 standard deviations, a false alarm of 4e-8 in all
        error = (expected * (1 - expected) / 20_000).sqrt()
        assert bool(((found - expected).abs() <= 6 * error).all())
    assert float((matrix @ start - expected).abs().max()) > 0.02


def test_the_exact_likelihood_rises_against_the_centred_gradient() -> None:
    """The centred gradient is a positive definite matrix times the plain one."""
    model, x = rbm("binary"), data("binary")
    p0, q = empirical(x, "binary"), conditionals(model)[2].sum(1)
    centred = expected_gradient(model, x, q, True)
    before = float(p0 @ q.log())
    for step in (0.01, 0.1):
        moved = rbm("binary")
        with torch.no_grad():
            for p, g in zip(moved.parameters(), centred, strict=True):
                p -= step * g
        assert float(p0 @ conditionals(moved)[2].sum(1).log()) > before + 1e-4


def test_the_gradient_is_closed_form_and_carries_no_graph() -> None:
    """Mistake 4: with E[z | x] differentiated through the samples the result is another one."""
    model, x = rbm("binary"), data("binary", 300)
    ContrastiveDivergence(1, rng=torch.Generator().manual_seed(8))(model, x)
    right = [p.grad.clone() for p in model.parameters()]
    assert not any(g.requires_grad for g in right)
    assert all(p.grad_fn is None for p in model.parameters())

    def free_energy(v: Tensor) -> Tensor:  # (4.5), binary units
        return -(v @ model.b + torch.nn.functional.softplus(v @ model.W + model.c).sum(1))

    rng = torch.Generator().manual_seed(8)  # the same samples again, straight from conditionals
    with torch.no_grad():
        z = (torch.rand(300, N_HIDDEN, generator=rng, dtype=torch.float64)
             < torch.sigmoid(x @ model.W + model.c)).double()  # fmt: skip
        y = (torch.rand(300, N_VISIBLE, generator=rng, dtype=torch.float64)
             < torch.sigmoid(z @ model.W.T + model.b)).double()  # fmt: skip
    stopped = torch.autograd.grad(free_energy(x).mean() - free_energy(y).mean(), model.parameters())
    for found, expected in zip(right, stopped, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    # without stopping, here through the mean-field reconstruction that lets the graph pass
    soft = torch.sigmoid(torch.sigmoid(x @ model.W + model.c) @ model.W.T + model.b)
    loss = free_energy(x).mean() - free_energy(soft).mean()
    leaking = torch.autograd.grad(loss, model.parameters())
    stopped_soft = torch.autograd.grad(
        free_energy(x).mean() - free_energy(soft.detach()).mean(), model.parameters()
    )
    gap = max(float((a - b).abs().max()) for a, b in zip(leaking, stopped_soft, strict=True))
    assert gap > 0.01


@pytest.mark.parametrize("n", [1, 3, 11])
def test_a_gradient_does_not_depend_on_how_many_samples_carry_the_same_average(n: int) -> None:
    """Mistake 5: data repeated twice, and twice the chains, are the same averages."""
    model, x = rbm("spin"), data("spin", n)
    states = configurations(N_VISIBLE, "spin")
    gradients = []
    for copies, n_chains in ((1, 40_000), (2, 20_000)):
        rng = torch.Generator().manual_seed(9)
        q = conditionals(model)[2].sum(1)
        initial = states[torch.multinomial(q, n_chains, replacement=True, generator=rng)]
        estimator = PersistentContrastiveDivergence(1, n_chains, rng=rng, initial=initial)
        estimator(model, wide(x, copies))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    # entries of independent chains in [-1, 1]: 6 standard deviations of the difference
    bound = 6 * math.sqrt(1 / 40_000 + 1 / 20_000)
    assert float((gradients[0] - gradients[1]).abs().max()) < bound


@pytest.mark.parametrize("make", [ContrastiveDivergence, PersistentContrastiveDivergence])
def test_constant_pixels_ragged_batches_and_extreme_parameters_stay_finite_and_right(
    make: type,
) -> None:
    """Couplings of 20 and biases of 100 in float32 decide the units, so the answer is known."""
    W = torch.tensor([[20.0, -20.0], [-20.0, 20.0], [20.0, 20.0]])
    b, c = torch.tensor([100.0, -100.0, 100.0]), torch.tensor([100.0, -100.0])
    model = RBM.from_parameters(W, b, c, "binary")  # its one state of any weight: 101 and 10
    x = torch.tensor([[0, 0, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 0, 1.0]])
    estimator = make(2, rng=torch.Generator().manual_seed(1))
    estimator(model, x)
    mode, hidden = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 0.0])
    at_data = torch.sigmoid(x.double() @ W.double() + c.double()).float()
    for found, expected in (
        (model.W.grad, torch.outer(mode, hidden) - x.T @ at_data / 5),
        (model.b.grad, mode - x.mean(0)),
        (model.c.grad, hidden - at_data.mean(0)),
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)

    constant = data("binary").float()
    constant[:, 1], constant[:, 3] = 0.0, 1.0
    model = RBM(N_VISIBLE, N_HIDDEN, "binary", rng=torch.Generator().manual_seed(2)).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rng = torch.Generator().manual_seed(3)
    estimator = make(1, rng=rng)
    trace = fit(model, constant, estimator, optimizer=optimizer, n_steps=300, batch_size=4, rng=rng)
    assert bool(torch.isfinite(trace.gradient_norm).all())
    q = conditionals(model)[2].sum(1)
    mean = q @ configurations(N_VISIBLE, "binary")
    assert float(mean[1]) < 0.05
    assert float(mean[3]) > 0.95


def test_frozen_parameters_are_left_alone() -> None:
    model, x = rbm("spin"), data("spin")
    model.W.requires_grad_(False)
    ContrastiveDivergence(rng=torch.Generator())(model, x)
    assert model.W.grad is None
    assert model.b.grad is not None


def test_fast_float32_products_agree_with_float64() -> None:
    """The same numbers by the product that float32 takes and by the one that float64 takes."""
    from lecture_pkg.learning.moment_gradient import write_rbm_gradient

    rng = torch.Generator().manual_seed(10)
    x = (torch.rand(23, 37, generator=rng) < 0.4).float()
    z = torch.rand(23, 19, generator=rng)
    single, double = RBM(37, 19, "binary", dtype=torch.float32), RBM(37, 19, "binary").double()
    write_rbm_gradient(single, x, z.clone(), 9, True)
    write_rbm_gradient(double, x.double(), z.double(), 9, True)
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=0, atol=2e-6)


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [ContrastiveDivergence, PersistentContrastiveDivergence])
def test_bad_input_is_refused(make: type) -> None:
    rng = torch.Generator()
    with pytest.raises(ValueError, match="k must be at least 1"):
        make(0, rng=rng)
    with pytest.raises(TypeError, match=r"rng must be a torch.Generator"):
        make(1, rng=42)
    estimator = make(1, rng=rng)
    with pytest.raises(TypeError, match="must be an RBM or a BoltzmannMachine"):
        estimator(torch.nn.Linear(2, 2), data("spin"))
    with pytest.raises(ValueError, match=r"binary values .* \(x \+ 1\) / 2"):
        estimator(rbm("binary"), data("spin"))
    with pytest.raises(ValueError, match=r"shape \(\*, 4\)"):
        estimator(rbm("binary"), data("binary")[:, :3])
    with pytest.raises(ValueError, match="at least one sample"):
        estimator(rbm("binary"), data("binary")[:0])
    optimizer = torch.optim.SGD(rbm("binary").parameters(), lr=0.1)
    model = rbm("binary")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="binary values"):
        fit(model, 0.5 * data("binary"), estimator, optimizer=optimizer, n_steps=1)


@pytest.mark.bad_input
def test_chains_that_do_not_fit_are_refused() -> None:
    rng = torch.Generator()
    with pytest.raises(ValueError, match=r"initial must have shape \(3, \*\)"):
        PersistentContrastiveDivergence(1, 3, rng=rng, initial=data("spin"))
    for betas in ([0.0, 0.5], [1.0], [0.5, 0.2, 1.0]):
        with pytest.raises(ValueError, match="betas must"):
            PersistentContrastiveDivergence(rng=rng, betas=torch.tensor(betas).double())
    ladder = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="leave one of them out"):
        PersistentContrastiveDivergence(1, 11, rng=rng, betas=ladder, initial=data("spin"))
    estimator = PersistentContrastiveDivergence(1, 11, rng=rng, initial=data("spin"))
    with pytest.raises(ValueError, match="initial must hold binary values"):
        estimator(rbm("binary"), data("binary"))
