"""How walkers of exchange Monte Carlo travel: round trips between the ends of the ladder."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from lecture_pkg._checks import require_shape, require_tensor


@dataclass(frozen=True, eq=False)
class RoundTrips:
    """What `round_trips` counted.

    Attributes:
        number: the completed round trips of every walker.
        mean_time: mean duration in sweeps of the completed ones; NaN where there is none. Trips
            that a short run cuts off are missing, and they are the long ones; `rate` is better.
        rate: round trips a sweep of one ladder, its walkers together: half the passages from end
            to end, of both directions. Here trips that the run cuts off count for what is done,
            but the passage that a walker is on as the run begins does not: nothing tells where it
            came from. The run should be long against a trip.
        from_hot: at each level, the fraction of walkers that visited the hottest end more
            recently than the coldest, among those that have been at an end.
    """

    number: Int64[Tensor, "walkers replicas"]
    mean_time: float
    rate: float
    from_hot: Float[Tensor, " temperatures"]


def round_trips(level: Int[Tensor, "sweeps temperatures replicas"]) -> RoundTrips:
    """Count the trips from the coldest level to the hottest and back to the coldest.

    Section 6. Each brings a state to the cold end that was remade at the hot one. The first trip
    starts when the walker is at the coldest level for the first time, the next where one ends.
    Equation (6.6) is what the rate would be if the energies forgot the past between exchanges.

    Args:
        level: the level of every walker after every sweep, as `exchange_monte_carlo` records it.

    Returns:
        A `RoundTrips`.

    Raises:
        TypeError: if level does not hold integers.
        ValueError: if level is not (sweeps, temperatures, replicas), with two temperatures or more.
    """
    require_tensor(level, "level")
    if level.is_floating_point() or level.is_complex() or level.dtype == torch.bool:
        raise TypeError(f"level must hold integers, but its dtype is {level.dtype}.")
    require_shape(level, (None, None, None), "level")
    n_sweeps, n_levels, n_replicas = level.shape
    if n_sweeps == 0 or n_levels < 2 or n_replicas == 0:
        raise ValueError(
            f"level must hold at least one sweep of two temperatures, but its shape is "
            f"{tuple(level.shape)}; pass the .level of a run."
        )
    time = torch.arange(n_sweeps, device=level.device)[:, None, None]
    hot, cold = level == 0, level == n_levels - 1
    last_hot = torch.where(hot, time, -1).cummax(0).values  # -1: not yet
    last_cold = torch.where(cold, time, -1).cummax(0).values
    came_from_hot, came_from_cold = last_hot > last_cold, last_cold > last_hot
    been_at_cold = last_cold >= 0
    arrives = came_from_hot[:-1] & cold[1:]
    n_passages = int(arrives.sum() + (came_from_cold[:-1] & hot[1:]).sum())
    ends = torch.zeros_like(cold)
    ends[1:] = arrives & been_at_cold[:-1]
    number = ends.sum(0)
    start = torch.where(been_at_cold.any(0), been_at_cold.int().argmax(0), 0)
    finish = torch.where(ends, time, -1).amax(0)
    duration = torch.where(number > 0, finish - start, 0).sum()
    n_trips = int(number.sum())
    labelled = been_at_cold | (last_hot >= 0)
    seen = torch.zeros(n_levels, dtype=torch.float64, device=level.device)
    at = level[labelled].long()
    seen.index_add_(0, at, torch.ones_like(at, dtype=torch.float64))
    from_hot = torch.zeros_like(seen).index_add_(0, at, came_from_hot[labelled].double())
    return RoundTrips(
        number=number,
        mean_time=float(duration) / n_trips if n_trips else float("nan"),
        rate=n_passages / (2 * n_sweeps * n_replicas),
        from_hot=from_hot / seen,
    )
