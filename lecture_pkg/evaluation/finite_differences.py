"""Gradients from function values alone, knowing nothing of formulas or autograd."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_finite, require_floating, require_shape


def central_difference(
    f: Callable[[Float[Tensor, "*shape"]], Float[Tensor, ""]],
    x: Float[Tensor, "*shape"],
    *,
    step: float = 1e-5,
) -> Float[Tensor, "*shape"]:
    """Return (f(x + h e) - f(x - h e)) / 2h for every entry e, arranged as `x`.

    The error is h² |f'''| / 6 from cutting the Taylor series off, plus about
    ε |f| / h from rounding; with ε = 2e-16 of float64 their sum is smallest near
    h = 1e-5. In float32 both are too large for a check.

    Args:
        f: scalar function of a tensor of the shape of `x`.
        x: where the gradient is taken.
        step: h, in the units of `x`.

    Returns:
        Gradient, of the shape and dtype of `x`.

    Raises:
        TypeError: if `x` or a value of `f` is not a floating-point tensor.
        ValueError: if `x` is not finite, `step` is not positive, or `f` returns
            no scalar.
    """
    x = require_floating(x, "x").detach()
    require_finite(x, "x")
    if not step > 0:
        raise ValueError(f"step must be positive, but {step} was given; 1e-5 suits float64.")
    gradient = torch.empty_like(x)
    with torch.no_grad():
        for index in np.ndindex(*x.shape):
            shift = torch.zeros_like(x)
            shift[index] = step
            above, below = f(x + shift), f(x - shift)
            require_shape(require_floating(above, "f(x)"), (), "f(x)")
            gradient[index] = (above - below) / (2 * step)
    return gradient
