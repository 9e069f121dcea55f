"""Gradient descent, and the quadratic upper bound that explains its step."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_count, require_finite, require_floating

ScalarFunction = Callable[[Float[Tensor, "*dim"]], Float[Tensor, ""]]


class DescentTrace(NamedTuple):
    """Every point that a descent visited, the start included, and the function's values there."""

    theta: Float[Tensor, "points *dim"]
    value: Float[Tensor, " points"]


def gradient_descent(
    f: ScalarFunction, theta0: Float[Tensor, "*dim"], step: float | Tensor, n_steps: int
) -> DescentTrace:
    """Follow θ ← θ - η ∇f(θ) from `theta0` and keep the whole path.

    Equations (2.32), (2.36), section 2.6. A step that is too long makes the values grow, up to
    infinity and NaN; they are kept in the trace, since showing this is one of its uses.

    Args:
        f: differentiable function to minimise; returns a scalar tensor.
        theta0: starting point, a scalar or an array of any shape.
        step: the learning rate η > 0, one number or a tensor with one for each coordinate.
        n_steps: how many steps to take.

    Returns:
        `theta` and `value` at the n_steps + 1 points, detached from the graph.

    Raises:
        TypeError: if `theta0` is not a floating-point tensor or `n_steps` is not an integer.
        ValueError: if `theta0` is not finite, `step` is not positive or does not fit the shape of
            `theta0`, `n_steps` is negative, or `f` is not a scalar function of θ.
    """
    theta = _require_point(theta0, "theta0")
    step = _require_step(step, theta)
    require_count(n_steps, "n_steps", minimum=0)
    value, gradient = _value_and_gradient(f, theta)
    points, values = [theta], [value]
    for _ in range(n_steps):
        theta = theta - step * gradient
        value, gradient = _value_and_gradient(f, theta)
        points.append(theta)
        values.append(value)
    return DescentTrace(torch.stack(points), torch.stack(values))


def quadratic_majorizer(
    f: ScalarFunction, theta0: Float[Tensor, "*dim"], step: float | Tensor
) -> Callable[[Float[Tensor, "*batch_and_dim"]], Float[Tensor, "*batch"]]:
    """Return the surrogate θ ↦ f(θ0) + ∇f(θ0)·(θ - θ0) + |θ - θ0|² / (2η).

    Equations (2.33), (2.37), section 2.6. It touches f at θ0, its minimum is where one step of
    gradient descent leads, and it lies above f everywhere if 1/η is at least the largest
    curvature that f has anywhere.

    Args:
        f: differentiable function to bound; returns a scalar tensor.
        theta0: where the surrogate touches f, a scalar or an array of any shape.
        step: the learning rate η > 0, one number or a tensor with one for each coordinate.

    Returns:
        The surrogate. It takes θ with any leading batch dimensions before those of `theta0`.

    Raises:
        TypeError: if `theta0` is not a floating-point tensor.
        ValueError: if `theta0` is not finite, `step` is not positive or does not fit the shape of
            `theta0`, or `f` is not a scalar function of θ; later, if θ does not end in the shape
            of `theta0`.
    """
    theta0 = _require_point(theta0, "theta0")
    step = _require_step(step, theta0)
    value, gradient = _value_and_gradient(f, theta0)

    def majorizer(theta: Float[Tensor, "*batch_and_dim"]) -> Float[Tensor, "*batch"]:
        theta = require_floating(theta, "theta")
        n_batch = theta.dim() - theta0.dim()
        if n_batch < 0 or theta.shape[n_batch:] != theta0.shape:
            raise ValueError(
                f"theta must end in the shape {tuple(theta0.shape)} of theta0, but its shape is "
                f"{tuple(theta.shape)}; batch dimensions come first."
            )
        move = theta - theta0
        terms = gradient * move + move.square() / (2 * step)
        return value + terms.reshape(*theta.shape[:n_batch], -1).sum(-1)

    return majorizer


def largest_curvature(f: ScalarFunction, theta: Float[Tensor, "*dim"]) -> Float[Tensor, ""]:
    """Return the largest eigenvalue of the Hessian of f at θ.

    Equation (2.44), section 2.6: if it is at most 1/η everywhere between two points, the
    surrogate with the learning rate η bounds f there.

    Args:
        f: twice differentiable function; returns a scalar tensor.
        theta: where to measure, a scalar or an array of any shape.

    Raises:
        TypeError: if `theta` is not a floating-point tensor.
        ValueError: if `theta` is not finite or `f` does not return a scalar.
    """
    theta = _require_point(theta, "theta")
    _require_scalar(f(theta))
    hessian = torch.autograd.functional.hessian(f, theta)
    return torch.linalg.eigvalsh(hessian.reshape(theta.numel(), theta.numel()))[-1]


def _value_and_gradient(
    f: ScalarFunction, theta: Float[Tensor, "*dim"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "*dim"]]:
    leaf = theta.clone().requires_grad_()
    with torch.enable_grad():
        value = _require_scalar(f(leaf))
        if not value.requires_grad:
            raise ValueError(
                "f must depend on theta through differentiable tensor operations, but its result "
                "carries no gradient; avoid .item(), .detach() and NumPy inside f."
            )
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _require_point(theta: object, name: str) -> Tensor:
    tensor = require_floating(theta, name)
    require_finite(tensor, name)
    return tensor.detach()


def _require_step(step: float | Tensor, theta: Tensor) -> Tensor:
    tensor = torch.as_tensor(step, dtype=theta.dtype, device=theta.device)
    if not bool(((tensor > 0) & (tensor < math.inf)).all()):
        raise ValueError(
            f"step must be positive and finite, but its smallest entry is {float(tensor.min()):.3g}"
            f" and its largest {float(tensor.max()):.3g}; a learning rate has no sign."
        )
    if tensor.dim() > 0 and tensor.shape != theta.shape:
        raise ValueError(
            f"step must be one number or have the shape {tuple(theta.shape)} of theta0, but its "
            f"shape is {tuple(tensor.shape)}; give one learning rate for each coordinate."
        )
    return tensor


def _require_scalar(value: object) -> Tensor:
    if not isinstance(value, Tensor) or value.dim() != 0:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"f must return a scalar tensor, but it returned {shape}; "
            "sum or average inside f, or differentiate one component at a time."
        )
    return value
