import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from lecture_pkg.learning import ExactLikelihood, fit
from lecture_pkg.models import BoltzmannMachine

UNIT_VALUES = {"spin": (-1.0, 1.0), "binary": (0.0, 1.0)}
N = 4
PAIRS = [list(pair) for pair in itertools.combinations(range(N), 2)]


def machine(units: str, scale: float = 1.0, seed: int = 7) -> BoltzmannMachine:
    generator = torch.Generator().manual_seed(seed)
    raw = scale * torch.randn(N, N, generator=generator, dtype=torch.float64)
    h = scale * torch.randn(N, generator=generator, dtype=torch.float64)
    return BoltzmannMachine(raw.triu(1) + raw.triu(1).T, h, units=units)


def target(units: str, n: int = 37, seed: int = 1) -> Tensor:
    """Asymmetric data: every unit has another mean, and neighbours lean on each other."""
    generator = torch.Generator().manual_seed(seed)
    low, high = UNIT_VALUES[units]
    noise = torch.rand(n, N, generator=generator, dtype=torch.float64)
    noise[:, 1] = 0.6 * noise[:, 1] + 0.4 * noise[:, 0]
    noise[:, 3] = 0.7 * noise[:, 3] + 0.3 * (1 - noise[:, 2])
    on = noise > torch.tensor([0.3, 0.45, 0.6, 0.5], dtype=torch.float64)
    return torch.where(on, high, low).to(torch.float64)


def enumerated_kl(couplings: Tensor, h: Tensor, x: Tensor, units: str) -> Tensor:
    """D_KL(p0‖q) written out over all states, with nothing of the package in it."""
    states = torch.tensor(
        list(itertools.product(UNIT_VALUES[units], repeat=N)), dtype=torch.float64
    )
    minus_energy = states @ h + sum(
        coupling * states[:, pair].prod(1) for coupling, pair in zip(couplings, PAIRS, strict=True)
    )
    log_q = minus_energy - minus_energy.logsumexp(0)
    counts = (x[:, None, :] == states).all(-1).double().sum(0)
    p0 = counts / len(x)
    seen = p0 > 0
    return (p0[seen] * (p0[seen].log() - log_q[seen])).sum()


def data_entropy(x: Tensor) -> float:
    counts = torch.unique(x, dim=0, return_counts=True)[1].double()
    return float(-(counts / len(x) * (counts / len(x)).log()).sum())


@pytest.mark.parametrize("units", UNIT_VALUES)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_gradient_is_that_of_the_enumerated_divergence(units: str, scale: float) -> None:
    model, x = machine(units, scale), target(units)
    objective = ExactLikelihood()(model, x)
    leaves = [p.detach().clone().requires_grad_() for p in (model.couplings, model.h)]
    divergence = enumerated_kl(*leaves, x, units)
    expected = torch.autograd.grad(divergence, leaves)
    expected_objective = float(divergence.detach()) + data_entropy(x)
    assert float(objective) == pytest.approx(expected_objective, abs=1e-12)
    assert not objective.requires_grad
    for parameter, gradient in zip((model.couplings, model.h), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-10)

    # central differences of fourth order: error of order step⁴ ~ 1e-12, rounding ~ 1e-13
    step = 1e-3
    for which, leaf in enumerate(leaves):
        for i in range(len(leaf)):
            values = []
            for shift in (-2, -1, 1, 2):
                moved = [p.detach().clone() for p in leaves]
                moved[which][i] += shift * step
                values.append(float(enumerated_kl(*moved, x, units)))
            slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
            found = (model.couplings, model.h)[which].grad[i]
            assert float(found) == pytest.approx(slope, abs=1e-8)


def test_the_gradient_is_written_not_added() -> None:
    model, x = machine("spin"), target("spin")
    ExactLikelihood()(model, x)
    first = model.h.grad.clone()
    ExactLikelihood()(model, x)
    assert torch.equal(model.h.grad, first)


def test_frozen_parameters_are_left_alone() -> None:
    model, x = machine("spin"), target("spin")
    model.couplings.requires_grad_(False)
    ExactLikelihood()(model, x)
    assert model.couplings.grad is None
    assert model.h.grad is not None


def enumerated_moments(model: BoltzmannMachine, units: str) -> tuple[Tensor, Tensor]:
    states = torch.tensor(
        list(itertools.product(UNIT_VALUES[units], repeat=N)), dtype=torch.float64
    )
    J, h = model.J.detach(), model.h.detach()
    minus_energy = states @ h + 0.5 * torch.einsum("sk,kl,sl->s", states, J, states)
    q = minus_energy.softmax(0)
    return q @ states, torch.einsum("s,sk,sl->kl", q, states, states)


# A line search compares objectives, whose rounding hides gradients below about the square root of
# the epsilon, 1e-8; without one L-BFGS uses gradients alone and goes on to their own rounding.
@pytest.mark.parametrize(("line_search", "tolerance"), [(None, 1e-11), ("strong_wolfe", 1e-7)])
@pytest.mark.parametrize("units", UNIT_VALUES)
def test_lbfgs_matches_the_moments(units: str, line_search: str | None, tolerance: float) -> None:
    """Equations (2.28), (2.29): at the minimum the model's averages are the data's."""
    model, x = machine(units, 0.1), target(units)
    optimizer = torch.optim.LBFGS(
        model.parameters(), line_search_fn=line_search, tolerance_grad=0, tolerance_change=0
    )
    trace = fit(model, x, ExactLikelihood(), optimizer=optimizer, n_steps=20, tolerance=tolerance)
    assert trace.converged
    assert float(trace.gradient_norm[0]) > 0.1
    mean, correlation = enumerated_moments(model, units)
    torch.testing.assert_close(mean, x.mean(0), rtol=0, atol=10 * tolerance)
    torch.testing.assert_close(correlation, x.T @ x / len(x), rtol=0, atol=10 * tolerance)


def test_sgd_is_plain_gradient_descent() -> None:
    """Every entry of the trace against a descent written out on the enumerated divergence."""
    model, x = machine("spin"), target("spin")
    couplings, h = model.couplings.detach().clone(), model.h.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    trace = fit(model, x, ExactLikelihood(), optimizer=optimizer, n_steps=5)
    for t in range(6):
        leaves = [couplings.requires_grad_(), h.requires_grad_()]
        divergence = enumerated_kl(couplings, h, x, "spin")
        gradients = torch.autograd.grad(divergence, leaves)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        objective = float(divergence.detach()) + data_entropy(x)
        assert float(trace.objective[t]) == pytest.approx(objective, abs=1e-12)
        assert float(trace.gradient_norm[t]) == pytest.approx(norm, abs=1e-12)
        if t < 5:
            couplings, h = (p.detach() - 0.2 * g for p, g in zip(leaves, gradients, strict=True))
    torch.testing.assert_close(model.couplings.detach(), couplings.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.h.detach(), h.detach(), rtol=0, atol=1e-12)
    assert not trace.converged


class Counting:
    """Pulls towards the mean of the data and counts how often it is asked."""

    def __init__(self, knows_objective: bool = True) -> None:
        self.calls, self.knows_objective = 0, knows_objective

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor | None:
        self.calls += 1
        move = model.weight - x.mean(0, keepdim=True)
        model.weight.grad = move.detach()
        return (0.5 * move.square().sum()).detach() if self.knows_objective else None


def linear(n_out: int = 1) -> nn.Linear:
    layer = nn.Linear(2, n_out, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.fill_(3.0)
    return layer


X = torch.tensor([[1.0, -1.0], [2.0, 0.5]], dtype=torch.float64)


def test_one_evaluation_a_step_and_one_at_the_end() -> None:
    model, estimator = linear(), Counting()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    trace = fit(model, X, estimator, optimizer=optimizer, n_steps=7)
    assert estimator.calls == len(trace.objective) == len(trace.gradient_norm) == 8
    distance = (torch.full((1, 2), 3.0, dtype=torch.float64) - X.mean(0)).norm()
    expected = distance * 0.5 ** torch.arange(8, dtype=torch.float64)
    torch.testing.assert_close(trace.gradient_norm, expected, rtol=1e-12, atol=0)


def test_it_stops_before_a_step_that_the_tolerance_makes_needless() -> None:
    model, estimator = linear(), Counting()
    with torch.no_grad():
        model.weight.copy_(X.mean(0, keepdim=True) + 1e-5)
    before = model.weight.detach().clone()
    # Adam moves by its learning rate however small the gradient is
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    trace = fit(model, X, estimator, optimizer=optimizer, n_steps=9, tolerance=1.1e-5)
    assert trace.converged
    assert estimator.calls == 1
    assert torch.equal(model.weight.detach(), before)


def test_the_tolerance_is_on_the_largest_entry_not_on_the_norm() -> None:
    model = linear()
    with torch.no_grad():
        model.weight.copy_(X.mean(0, keepdim=True) + 1e-5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trace = fit(model, X, Counting(), optimizer=optimizer, n_steps=0, tolerance=1.1e-5)
    assert float(trace.gradient_norm[0]) > 1.1e-5
    assert trace.converged


def test_an_estimator_without_objective_leaves_nan_in_its_place() -> None:
    model = linear()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    trace = fit(model, X, Counting(False), optimizer=optimizer, n_steps=2)
    assert bool(torch.isnan(trace.objective).all())
    assert float(trace.gradient_norm[-1]) < float(trace.gradient_norm[0])


@pytest.mark.bad_input
def test_bad_data_and_settings_are_refused() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run(x: object = X, **settings: object) -> None:
        given = {"optimizer": optimizer, "n_steps": 3, **settings}
        fit(model, x, Counting(), **given)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"x must hold floating-point"):
        run(X.long())
    with pytest.raises(ValueError, match=r"x must have shape \(\*, \*\)"):
        run(X[0])
    with pytest.raises(ValueError, match=r"x must be finite"):
        run(X / 0)
    with pytest.raises(ValueError, match=r"at least one sample"):
        run(X[:0])
    with pytest.raises(ValueError, match=r"n_steps must be at least 0"):
        run(n_steps=-1)
    with pytest.raises(TypeError, match=r"n_steps must be an integer"):
        run(n_steps=3.0)
    for tolerance in (-1e-9, math.nan):
        with pytest.raises(ValueError, match=r"tolerance must be at least 0"):
            run(tolerance=tolerance)
    with pytest.raises(ValueError, match=r"optimizer must hold parameters of the model"):
        run(optimizer=torch.optim.SGD(linear().parameters(), lr=0.1))


@pytest.mark.bad_input
def test_estimators_that_break_the_protocol_are_refused() -> None:
    model = linear()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"estimator must write .grad.*all are empty"):
        fit(model, X, lambda model, x: None, optimizer=sgd, n_steps=1)
    lbfgs = torch.optim.LBFGS(model.parameters())
    with pytest.raises(ValueError, match=r"L-BFGS compares objectives, but Counting returned None"):
        fit(model, X, Counting(False), optimizer=lbfgs, n_steps=1)


@pytest.mark.bad_input
def test_a_gradient_that_blows_up_stops_the_training_before_the_model_is_spoilt() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e60)
    with pytest.raises(FloatingPointError, match=r"no longer finite after \d+ steps; lower"):
        fit(model, X, Counting(), optimizer=optimizer, n_steps=20)

    def broken(model: nn.Module, x: Tensor) -> None:
        model.weight.grad = torch.full_like(model.weight, math.nan)

    before = linear().weight.detach()
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match=r"after 0 steps"):
        fit(model, X, broken, optimizer=optimizer, n_steps=20)
    assert torch.equal(model.weight.detach(), before)


@pytest.mark.bad_input
def test_data_outside_the_units_of_the_model_are_refused_with_the_conversion() -> None:
    with pytest.raises(ValueError, match=r"spin values.*2 \* x - 1"):
        ExactLikelihood()(machine("spin"), target("binary"))
    with pytest.raises(ValueError, match=r"x must have shape \(\*, 4\)"):
        ExactLikelihood()(machine("spin"), target("spin")[:, :3])
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor"):
        ExactLikelihood()(machine("spin"), target("spin").tolist())  # type: ignore[arg-type]


class Recording:
    """Writes a gradient of one and keeps the batches that it was given."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def __call__(self, model: nn.Module, x: Tensor) -> None:
        self.batches.append(x.clone())
        model.weight.grad = torch.ones_like(model.weight)


def numbered(n: int) -> Tensor:
    return torch.stack([torch.arange(n), -torch.arange(n)], dim=1).double()


def test_an_epoch_takes_every_sample_once_and_keeps_the_ragged_rest() -> None:
    model, estimator = linear(), Recording()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rng = torch.Generator().manual_seed(1)
    fit(model, numbered(11), estimator, optimizer=optimizer, n_steps=8, batch_size=4, rng=rng)
    assert [len(batch) for batch in estimator.batches] == [4, 4, 3] * 3
    epochs = [torch.cat(estimator.batches[i : i + 3]) for i in (0, 3, 6)]
    for epoch in epochs:
        assert torch.equal(epoch[epoch[:, 0].argsort()], numbered(11))
    # 11! orders: that two of three epochs or the data share one has a probability of 2e-7
    assert not any(torch.equal(a, b) for a, b in itertools.combinations([*epochs, numbered(11)], 2))


def test_a_batch_larger_than_the_data_is_all_of_the_data() -> None:
    model, estimator = linear(), Recording()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rng = torch.Generator().manual_seed(1)
    fit(model, numbered(3), estimator, optimizer=optimizer, n_steps=2, batch_size=50, rng=rng)
    assert [len(batch) for batch in estimator.batches] == [3, 3, 3]


def test_mini_batches_of_the_exact_gradient_average_to_the_whole_gradient() -> None:
    """The mean over an epoch of the exact gradient, weighted by the size of the batches."""
    model, x = machine("spin"), target("spin")
    seen: list[tuple[int, Tensor]] = []

    def spy(model: BoltzmannMachine, batch: Tensor) -> Tensor:
        value = ExactLikelihood()(model, batch)
        seen.append((len(batch), model.h.grad.clone()))
        return value

    still = torch.optim.SGD(model.parameters(), lr=0.0)
    rng = torch.Generator().manual_seed(2)
    fit(model, x, spy, optimizer=still, n_steps=3, batch_size=10, rng=rng)
    assert [n for n, _ in seen] == [10, 10, 10, 7]
    mean = sum(n * gradient for n, gradient in seen) / 37
    ExactLikelihood()(model, x)
    torch.testing.assert_close(mean, model.h.grad, rtol=0, atol=1e-14)


def test_the_schedule_moves_after_every_step() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    fit(model, X, Recording(), optimizer=optimizer, n_steps=4, scheduler=scheduler)
    moved = 3.0 - model.weight.detach()
    torch.testing.assert_close(moved, torch.full_like(moved, 1 + 0.5 + 0.25 + 0.125))


def test_a_plateau_of_the_objective_lowers_the_learning_rate() -> None:
    model, x = machine("spin"), target("spin")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.5)
    fit(model, x, ExactLikelihood(), optimizer=optimizer, n_steps=8, scheduler=plateau)
    assert optimizer.param_groups[0]["lr"] == 0.25e-6
    recording = linear()
    optimizer = torch.optim.SGD(recording.parameters(), lr=0.1)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ValueError, match="ReduceLROnPlateau waits for the objective"):
        fit(recording, X, Recording(), optimizer=optimizer, n_steps=1, scheduler=plateau)


def test_large_and_small_gradients_are_measured_without_overflow() -> None:
    """Squares beyond the range of float32, above and below, are no reason to stop."""
    for size in (1e30, 1e-30):
        model = linear().float()
        gradient = torch.full_like(model.weight, size)

        def constant(model: nn.Module, x: Tensor, gradient: Tensor = gradient) -> None:
            model.weight.grad = gradient.clone()

        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        trace = fit(model, X.float(), constant, optimizer=optimizer, n_steps=1)
        assert not trace.converged
        if size > 1:
            assert float(trace.gradient_norm[0]) == pytest.approx(size * 2**0.5, rel=1e-6)


def test_gradients_of_an_earlier_training_do_not_pass_for_new_ones() -> None:
    model = linear()
    model.weight.grad = torch.ones_like(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="all are empty"):
        fit(model, X, lambda model, x: None, optimizer=optimizer, n_steps=1)


def test_the_data_are_checked_once_where_the_estimator_can() -> None:
    class Checking(Recording):
        n_checks = 0

        def check(self, model: nn.Module, x: Tensor) -> None:
            self.n_checks += 1
            assert len(x) == 11

        def gradient(self, model: nn.Module, x: Tensor) -> None:
            Recording.__call__(self, model, x)

    model, estimator = linear(), Checking()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rng = torch.Generator().manual_seed(1)
    fit(model, numbered(11), estimator, optimizer=optimizer, n_steps=5, batch_size=3, rng=rng)
    assert estimator.n_checks == 1
    assert len(estimator.batches) == 6


def test_progress_shows_a_bar_and_nothing_is_printed_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, X, Recording(), optimizer=optimizer, n_steps=3)
    assert capsys.readouterr() == ("", "")
    fit(model, X, Recording(), optimizer=optimizer, n_steps=3, progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.bad_input
def test_bad_batches_and_schedules_are_refused() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run(**settings: object) -> None:
        fit(model, X, Counting(), optimizer=optimizer, n_steps=1, **settings)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="batch_size needs rng"):
        run(batch_size=2)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        run(batch_size=0, rng=torch.Generator())
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1"):
        run(checkpoint_every=0)
    other = torch.optim.SGD(linear().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="made over another one"):
        run(scheduler=torch.optim.lr_scheduler.ExponentialLR(other, 0.5))
