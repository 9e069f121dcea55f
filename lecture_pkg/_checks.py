"""Refuse bad input at the door: what was given, what was expected, how to mend it."""

import torch
from torch import Tensor

_UNIT_VALUES = {"spin": (-1, 1), "binary": (0, 1)}


def require_tensor(value: object, name: str) -> Tensor:
    """Return `value` if it is a tensor; raise `TypeError` otherwise."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor, but a {type(value).__name__} was given; "
            f"convert it with torch.as_tensor({name})."
        )
    return value


def require_floating(value: object, name: str) -> Tensor:
    """Return `value` if it is a tensor of floating-point numbers; raise `TypeError` otherwise."""
    tensor = require_tensor(value, name)
    if not tensor.is_floating_point():
        raise TypeError(
            f"{name} must hold floating-point numbers, but its dtype is {tensor.dtype}; "
            f"convert it with {name}.to(torch.float64)."
        )
    return tensor


def require_finite(tensor: Tensor, name: str) -> None:
    """Raise `ValueError` if the tensor holds NaN or an infinity."""
    # One such entry makes the sum so: one fast pass settles it, but for sums that overflow.
    if bool(torch.isfinite(tensor.detach().sum())):
        return
    n_bad = int((~torch.isfinite(tensor)).sum())
    if n_bad:
        raise ValueError(
            f"{name} must be finite, but {n_bad} of its {tensor.numel()} entries are NaN or "
            "infinite; remove or replace them first."
        )


def require_shape(tensor: Tensor, shape: tuple[int | None, ...], name: str) -> None:
    """Raise `ValueError` unless the shape matches; `None` stands for any length."""
    matches = tensor.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not matches:
        expected = "(" + ", ".join("*" if s is None else str(s) for s in shape) + ")"
        raise ValueError(
            f"{name} must have shape {expected}, but its shape is {tuple(tensor.shape)}; "
            "reshape it or index the dimension that is meant."
        )


def require_points(x: object, dim: int) -> Tensor:
    """Return `x` if it holds finite points of `dim` coordinates in its last dimension."""
    tensor = require_floating(x, "x")
    if tensor.dim() == 0 or tensor.shape[-1] != dim:
        raise ValueError(
            f"x must have shape (..., {dim}), one point a row, but its shape is "
            f"{tuple(tensor.shape)}; reshape it, for one-dimensional data with x[:, None]."
        )
    require_finite(tensor, "x")
    return tensor


def require_same_dtype(**tensors: Tensor) -> None:
    """Raise `TypeError` unless all tensors have one dtype."""
    if len({tensor.dtype for tensor in tensors.values()}) > 1:
        given = ", ".join(f"{name} is {tensor.dtype}" for name, tensor in tensors.items())
        raise TypeError(f"all arguments must have one dtype, but {given}; convert with .to().")


def require_probabilities(tensor: Tensor, name: str) -> None:
    """Raise `ValueError` unless every vector along the last dimension is a probability vector."""
    require_finite(tensor, name)
    if bool((tensor < 0).any()):
        raise ValueError(
            f"{name} must be non-negative, but its smallest entry is {float(tensor.min()):.3g}; "
            "a probability vector holds no negative entries."
        )
    totals = tensor.sum(-1).flatten()
    tolerance = 1e-8 if tensor.dtype == torch.float64 else 1e-4
    if bool(((totals - 1).abs() > tolerance).any()):
        worst = float(totals[(totals - 1).abs().argmax()])
        raise ValueError(
            f"{name} must sum to one, but its sum is {worst:.10g}; "
            f"normalise it with {name} / {name}.sum(-1, keepdim=True)."
        )


def require_count(value: object, name: str, minimum: int = 1) -> int:
    """Return `value` if it is an integer of at least `minimum`; raise otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{name} must be an integer, but a {type(value).__name__} was given; "
            f"convert it with int({name})."
        )
    if value < minimum:
        raise ValueError(
            f"{name} must be at least {minimum}, but {value} was given; choose a larger one."
        )
    return value


def require_units(units: str) -> str:
    """Return the unit convention if it is known; raise `ValueError` otherwise."""
    if units not in _UNIT_VALUES:
        raise ValueError(
            f'units must be "spin" for {{-1, +1}} or "binary" for {{0, 1}}, not {units!r}.'
        )
    return units


def require_unit_values(x: Tensor, units: str, name: str) -> None:
    """Raise `ValueError` if `x` holds values outside the convention, naming the conversion."""
    low, high = _UNIT_VALUES[units]
    if bool(((x == low) | (x == high)).all()):
        return
    require_finite(x, name)
    other = "binary" if units == "spin" else "spin"
    other_low, other_high = _UNIT_VALUES[other]
    message = f"{name} must hold {units} values {{{low}, {high}}} only"
    if bool(((x == other_low) | (x == other_high)).all()):
        conversion = f"2 * {name} - 1" if units == "spin" else f"({name} + 1) / 2"
        raise ValueError(
            f"{message}, but it holds {other} values {{{other_low}, {other_high}}}; "
            f"convert it with {conversion}."
        )
    raise ValueError(f"{message}, but it holds other values such as {_offender(x, low, high)}.")


def _offender(x: Tensor, low: int, high: int) -> str:
    return f"{float(x[(x != low) & (x != high)][0]):.4g}"


def require_energy_model(model: object) -> None:
    """Raise `TypeError` unless the model has an energy of units that take two values."""
    missing = [name for name in ("energy", "units", "n_units") if not hasattr(model, name)]
    if missing:
        raise TypeError(
            "model must have energy(x), units and n_units, as a BoltzmannMachine has, but a "
            f"{type(model).__name__} without {', '.join(missing)} was given."
        )


def require_positive(value: float, name: str) -> None:
    """Raise `ValueError` unless the number is positive; infinity is."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, but {value} was given; choose a larger one.")
