"""One training loop for every gradient estimator and every torch optimiser."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_count, require_finite, require_floating, require_shape

# An estimator is called with the model and the data. It overwrites (never adds to) `.grad` of the
# model's parameters with an estimate of ∂D_KL(p0‖q_θ)/∂θ, and returns the objective, a scalar
# tensor, or None where only the gradient is known.
GradientEstimator = Callable[[Any, Tensor], Tensor | None]


@dataclass(frozen=True, eq=False)
class FitTrace:
    """What `fit` saw: entry t is measured after t steps, so the last one is the final model.

    Attributes:
        objective: the estimator's objective in nats; NaN where it returned None.
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
) -> FitTrace:
    """Train the model in place: estimate the gradient, let the optimiser step, repeat.

    The descent of section 2.6 with any optimiser; `torch.optim.SGD` is plain gradient descent.

    Args:
        model: what is trained; its parameters change, also when an error stops the training.
        x: the data, one sample a row, all given to the estimator at each step.
        estimator: such as `ExactLikelihood()`.
        optimizer: made by the caller over the model's parameters; L-BFGS works where the
            estimator knows its objective.
        n_steps: how many steps to take at most.
        tolerance: stop before a step once no entry of the gradient exceeds this in size.

    Returns:
        The objective and the gradient norm at the start and after every step.

    Raises:
        TypeError: if `x` is not a floating-point tensor or `n_steps` is not an integer.
        ValueError: if `x` is not two-dimensional, has no rows, or is not finite; if `n_steps` or
            `tolerance` is negative; if the optimiser holds none of the model's parameters; if the
            estimator leaves every gradient empty; if L-BFGS is used without an objective.
        FloatingPointError: if a gradient is no longer finite; the model stays as it was when the
            gradient was taken.
    """
    x = require_floating(x, "x")
    require_shape(x, (None, None), "x")
    require_finite(x, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it has no rows; add data.")
    require_count(n_steps, "n_steps", minimum=0)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, but {tolerance} was given.")
    parameters = [p for p in model.parameters() if p.requires_grad]
    _require_same_parameters(parameters, optimizer)

    def evaluate() -> Tensor | None:
        optimizer.zero_grad()
        value = estimator(model, x)
        if value is None and isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                f"L-BFGS compares objectives, but {type(estimator).__name__} returned None; "
                "use SGD or Adam, or an estimator that knows its objective."
            )
        return value

    objectives, norms, converged = [], [], False
    for step in range(n_steps + 1):
        value = evaluate()
        gradient = _gathered_gradient(parameters, step)
        objectives.append(float("nan") if value is None else float(value))
        norms.append(float(gradient.norm()))
        converged = float(gradient.abs().max()) <= tolerance
        if converged or step == n_steps:
            break
        optimizer.step(_reuse_first(value, evaluate))  # type: ignore[arg-type]
    return FitTrace(
        torch.tensor(objectives, dtype=x.dtype), torch.tensor(norms, dtype=x.dtype), converged
    )


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


def _gathered_gradient(parameters: list[torch.nn.Parameter], step: int) -> Float[Tensor, " total"]:
    """Return all gradients as one vector, refusing none at all and anything not finite."""
    gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
    if not gradients:
        raise ValueError(
            "the estimator must write .grad of the model's parameters, but all are empty; "
            "check that it works on the model it is given."
        )
    gradient = torch.cat(gradients)
    if not bool(torch.isfinite(gradient).all()):
        raise FloatingPointError(
            f"the gradient is no longer finite after {step} steps; lower the learning rate."
        )
    return gradient


def _require_same_parameters(
    parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not held & {id(p) for p in parameters}:
        raise ValueError(
            "optimizer must hold parameters of the model, but it holds none of them; "
            "make it with model.parameters()."
        )
