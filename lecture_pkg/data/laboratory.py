"""Bars and stripes: a data set small enough that everything about it can be enumerated."""

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_count, require_units

_LARGEST_SIDE = 16


def bars_and_stripes(side: int, units: str = "binary") -> Float[Tensor, "patterns pixels"]:
    """Return every image whose rows, or whose columns, are each entirely on or entirely off.

    There are 2^(side+1) - 2 of them: 2^side with constant rows and 2^side with constant
    columns, where the empty and the full image are both. Each is listed once, so that the
    empirical distribution of the result is uniform over the patterns; protocols that draw the
    orientation first give the empty and the full image twice the weight.

    Args:
        side: pixels along one side of the square image, 1 to 16.
        units: `"binary"` for {0, 1} or `"spin"` for {-1, +1}.

    Returns:
        The distinct patterns, float64, pixels in row-major order: those with constant rows
        first, each group counting upwards in binary with its first row (column) leading.

    Raises:
        TypeError: if `side` is not an integer.
        ValueError: if `side` is out of range or `units` is unknown.

    Reference: D. J. C. MacKay, Information Theory, Inference, and Learning Algorithms (2003),
    chapter 43.
    """
    require_count(side, "side")
    require_units(units)
    if side > _LARGEST_SIDE:
        raise ValueError(
            f"side must be at most {_LARGEST_SIDE}, but {side} was given; the number of patterns "
            "grows as 2^(side+1), choose a smaller one."
        )
    shifts = torch.arange(side - 1, -1, -1)
    bits = (torch.arange(2**side)[:, None] >> shifts) & 1  # (2^side, side)
    constant_rows = bits.repeat_interleave(side, dim=1)
    constant_columns = bits[1:-1].repeat(1, side)  # the empty and the full image are listed above
    x = torch.cat([constant_rows, constant_columns]).to(torch.float64)
    return 2 * x - 1 if units == "spin" else x
