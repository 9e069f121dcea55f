"""What a request may cost: refused before it is spent, if time or memory is out of reach."""

import math
from collections.abc import Callable

import psutil
import torch
from torch.utils.checkpoint import checkpoint

FLOPS_PER_THREAD = 2e10  # a modest core in float64: estimates err on the slow side
SECONDS_PER_EXP = 1e-8
_LOG2_SECONDS = 32  # 136 years: no time_limit reaches further


def refuse_unless_quick(n: int, log2_seconds: float, time_limit: float) -> None:
    """Raise `ValueError` if 2^log2_seconds is over the limit."""
    if log2_seconds > min(math.log2(time_limit), _LOG2_SECONDS):
        raise ValueError(
            f"{n} units mean 2^{n} states: {_amount(log2_seconds)} s of work, over the time_limit "
            f"of {time_limit:.3g} s; raise time_limit, take fewer units, or estimate by sampling."
        )


def refuse_unless_it_fits(n: int, log2_bytes: float) -> None:
    """Raise `ValueError` if 2^log2_bytes is more memory than is available."""
    available = psutil.virtual_memory().available
    if log2_bytes > math.log2(available):
        raise ValueError(
            f"{n} units mean 2^{n} states: {_amount(log2_bytes - 30)} GiB of memory, but "
            f"{available / 2**30:.3g} GiB are available; take fewer units, or estimate by sampling."
        )


def in_bounded_memory(call: Callable, argument: object, alone: bool = False):
    """Call for one block; the backward pass computes it again, instead of storing all blocks."""
    if alone or not torch.is_grad_enabled():
        return call(argument)
    return checkpoint(call, argument, use_reentrant=False, preserve_rng_state=False)


def _amount(log2: float) -> str:
    """Print 2^log2, which may be larger than the largest float."""
    if log2 < 50:
        return f"about {2**log2:.3g}"
    return f"more than 10^{math.floor(log2 * math.log10(2))}"
