"""The 2^n states of n units, in one order for the whole package."""

import torch
from torch import Tensor


def enumerate_states(start: int, stop: int, n: int, units: str) -> Tensor:
    """Return rows start ... stop - 1 of the list: row i is i in binary digits, unit 0 first."""
    digits = torch.arange(start, stop)[:, None] >> torch.arange(n - 1, -1, -1) & 1
    return (2 * digits - 1 if units == "spin" else digits).to(torch.float64)
