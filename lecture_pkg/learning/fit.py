"""One training loop for every gradient estimator and every torch optimiser."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from lecture_pkg._checks import require_count, require_finite, require_floating, require_shape
from lecture_pkg.learning.batches import Batches
from lecture_pkg.learning.checkpoint import Checkpoint

# An estimator is called with the model and the data. It overwrites (never adds to) `.grad` of the
# model's parameters with an estimate of ∂D_KL(p0‖q_θ)/∂θ, and returns the objective, a scalar
# tensor, or None where only the gradient is known.
#
# It may also have
# - check(model, x) and gradient(model, x), the two halves of a call: `fit` then checks all the
#   data once, and not every batch again;
# - state_dict() and load_state_dict(), where it keeps something from one call to the next, such as
#   Markov chains and the generator that moves them: checkpoints hold them.
GradientEstimator = Callable[[Any, Tensor], Tensor | None]


@dataclass(frozen=True, eq=False)
class FitTrace:
    """What `fit` saw: entry t is measured after t steps, so the last one is the final model.

    Attributes:
        objective: the estimator's objective in nats, on the batch of that step; NaN where it
            returned None.
        gradient_norm: Euclidean norm of the whole gradient.
        converged: whether the largest gradient entry fell to the tolerance.
    """

    objective: Float[Tensor, " evaluations"]
    gradient_norm: Float[Tensor, " evaluations"]
    converged: bool


def fit(
    model: torch.nn.Module,
    x: Float[Tensor, "n dim"],
    estimator: GradientEstimator,
    *,
    optimizer: torch.optim.Optimizer,
    n_steps: int,
    tolerance: float = 0.0,
    batch_size: int | None = None,
    rng: torch.Generator | None = None,
    scheduler: LRScheduler | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int = 100,
    progress: bool = False,
) -> FitTrace:
    """Train the model in place: estimate the gradient, let the optimiser step, repeat.

    The descent of section 2.6 with any optimiser; `torch.optim.SGD` is plain gradient descent.

    Args:
        model: what is trained; its parameters change, also when an error stops the training.
        x: the data, one sample a row.
        estimator: such as `ExactLikelihood()` or `ContrastiveDivergence(rng=rng)`.
        optimizer: made by the caller over the model's parameters; L-BFGS works where the
            estimator knows its objective.
        n_steps: how many steps to take at most.
        tolerance: stop before a step once no entry of the gradient exceeds this in size.
        batch_size: how many samples a step uses. Every epoch takes all samples once, in a new
            random order; the last batch of an epoch is smaller where n is no multiple. Without
            it each step uses all samples.
        rng: draws the order of the samples; needed with `batch_size`.
        scheduler: of `torch.optim.lr_scheduler`, made over the optimiser; moves after every step.
        checkpoint: file that holds the whole state of the training (one safetensors file with
            JSON in its header), replaced as a whole every `checkpoint_every` steps and after
            `n_steps`. Where it exists already, the training goes on from it, and ends with the same
            numbers as if it had never stopped. Call with the arguments of the first call; only
            `n_steps`, `tolerance` and `checkpoint_every` may differ.
        checkpoint_every: steps from one checkpoint to the next.
        progress: whether to show a bar.

    Returns:
        The objective and the gradient norm at the start and after every step.

    Raises:
        TypeError: if `x` is not a floating-point tensor or `n_steps` is not an integer.
        ValueError: if `x` is not two-dimensional, has no rows, or is not finite; if `n_steps` or
            `tolerance` is negative; if `batch_size` is given without `rng`; if the optimiser
            holds none of the model's parameters, or the scheduler moves another optimiser; if the
            estimator leaves every gradient empty; if L-BFGS is used without an objective or with
            a checkpoint; if the checkpoint belongs to another training.
        FloatingPointError: if a gradient is no longer finite; the model stays as it was when the
            gradient was taken.
    """
    x = require_floating(x, "x")
    require_shape(x, (None, None), "x")
    require_finite(x, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it has no rows; add data.")
    require_count(n_steps, "n_steps", minimum=0)
    require_count(checkpoint_every, "checkpoint_every")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, but {tolerance} was given.")
    parameters = [p for p in model.parameters() if p.requires_grad]
    _require_same_parameters(parameters, optimizer)
    if scheduler is not None and scheduler.optimizer is not optimizer:
        raise ValueError(
            "scheduler must move the optimizer that is given, but it was made over another one; "
            "make it again over this one."
        )
    batches = Batches(x, batch_size, rng=rng)
    estimate = _checked_once(estimator, model, x)
    objectives: list[float] = []
    norms: list[float] = []
    start = 0
    store = None
    if checkpoint is not None:
        store = Checkpoint(checkpoint, model, estimator, optimizer, scheduler, batches)
        start, objectives, norms = store.resume(n_steps)

    # Gradients of an earlier training must not pass for the estimator's; from here on it
    # overwrites them itself.
    optimizer.zero_grad()
    batch = x

    def evaluate() -> Tensor | None:
        value = estimate(model, batch)
        if value is None and isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                f"L-BFGS compares objectives, but {type(estimator).__name__} returned None; "
                "use SGD or Adam, or an estimator that knows its objective."
            )
        return value

    converged = False
    with tqdm(total=n_steps, initial=start, disable=not progress) as bar:
        for step in range(start, n_steps + 1):
            due = step % checkpoint_every == 0 or step == n_steps
            if store is not None and step > start and due:
                store.save(step, objectives, norms)
            batch = batches.next()
            value = evaluate()
            gradients = _gradients(parameters)
            norm = _finite_norm(gradients, step)
            objectives.append(math.nan if value is None else float(value))
            norms.append(norm)
            converged = _no_entry_exceeds(gradients, norm, tolerance)
            if converged or step == n_steps:
                break
            optimizer.step(_reuse_first(value, evaluate))  # type: ignore[arg-type]
            if scheduler is not None:
                _move(scheduler, value)
            bar.update()
    return FitTrace(
        torch.tensor(objectives, dtype=x.dtype), torch.tensor(norms, dtype=x.dtype), converged
    )


def _checked_once(estimator: GradientEstimator, model: torch.nn.Module, x: Tensor) -> Any:
    """Return what estimates the gradient on a batch, after all the data were checked."""
    if hasattr(estimator, "check") and hasattr(estimator, "gradient"):
        estimator.check(model, x)
        return estimator.gradient
    return estimator


def _reuse_first(
    value: Tensor | None, evaluate: Callable[[], Tensor | None]
) -> Callable[[], Tensor | None]:
    """Return a closure whose first call costs nothing: the gradients it asks for are in place.

    Optimisers that need one gradient call the closure once; L-BFGS goes on to call it at the
    points that it tries.
    """
    first = True

    def closure() -> Tensor | None:
        nonlocal first
        if first:
            first = False
            return value
        return evaluate()

    return closure


def _gradients(parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        raise ValueError(
            "the estimator must write .grad of the model's parameters, but all are empty; "
            "check that it works on the model it is given."
        )
    return gradients


def _finite_norm(gradients: list[Tensor], step: int) -> float:
    """Return the norm of all gradients together, refusing anything that is not finite.

    One pass over the numbers: an entry that is not finite makes the norm so. Only then is it
    asked whether an entry was to blame, or an overflow of the squares.
    """
    norm = math.hypot(*(float(torch.linalg.vector_norm(g)) for g in gradients))
    if math.isfinite(norm):
        return norm
    if not all(bool(torch.isfinite(g).all()) for g in gradients):
        raise FloatingPointError(
            f"the gradient is no longer finite after {step} steps; lower the learning rate."
        )
    return math.hypot(*(float(torch.linalg.vector_norm(g.double())) for g in gradients))


def _no_entry_exceeds(gradients: list[Tensor], norm: float, tolerance: float) -> bool:
    """Whether the largest entry is within the tolerance; the norm usually shows that it is not."""
    n_entries = sum(g.numel() for g in gradients)
    if norm > 1.001 * tolerance * math.sqrt(n_entries) and norm > 1e-15:
        return False
    return max(float(g.abs().max()) for g in gradients) <= tolerance


def _move(scheduler: LRScheduler, value: Tensor | None) -> None:
    if not isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step()
    elif value is None:
        raise ValueError(
            "ReduceLROnPlateau waits for the objective to stand still, but the estimator returned "
            "None; use a schedule that depends on the step alone."
        )
    else:
        scheduler.step(float(value))


def _require_same_parameters(
    parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not held & {id(p) for p in parameters}:
        raise ValueError(
            "optimizer must hold parameters of the model, but it holds none of them; "
            "make it with model.parameters()."
        )
