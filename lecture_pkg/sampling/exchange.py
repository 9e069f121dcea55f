"""Exchange Monte Carlo: one chain at every temperature, and neighbours trade their temperatures."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int16, Int64
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import require_count, require_shape, require_tensor
from lecture_pkg.sampling._ladder import require_betas, require_chains
from lecture_pkg.sampling.kernel import Kernel

_FEWEST_MEANS = 20  # as many block means, over time and replicas, stand behind a standard error


@dataclass(frozen=True, eq=False)
class ExchangeState:
    """Where every walker is: its units, and the index of its β on the ladder.

    Attributes:
        x: the units; a walker keeps its row however often its temperature changes.
        level: a permutation of 0 ... temperatures - 1 in every replica.
        n_sweeps: the sweeps behind it; whether even or odd decides which pairs are next.
    """

    x: Float[Tensor, "walkers replicas n"]
    level: Int64[Tensor, "walkers replicas"]
    n_sweeps: int


@dataclass(frozen=True, eq=False)
class Exchange:
    """What `exchange_monte_carlo` saw. Level 0 is the hottest.

    Attributes:
        x: the states after every `keep_every`-th sweep, in the order of the ladder.
        level: the level of every walker after every sweep. The histories of two runs, one
            continuing the other, may be joined for `round_trips`.
        keep_every: how many sweeps lie between the kept states.
        acceptance: the mean of min{1, exp(-Δ)} over the proposals between the levels k and k + 1,
            which is the fraction accepted without the noise of the decisions; NaN where none was
            made.
        mean_energy: mean of ∂F_β/∂β at each level, over sweeps and replicas.
        mean_energy_error: standard errors of those, from the spread of at least 20 means over
            replicas and blocks of time. They are honest if a block, the whole run from 20 replicas
            on, is long against the autocorrelation time. NaN where there is a single mean.
        state: the `initial` of a run that goes on.
    """

    x: Float[Tensor, "kept temperatures replicas n"]
    level: Int16[Tensor, "sweeps temperatures replicas"]
    keep_every: int
    acceptance: Float[Tensor, " pairs"]
    mean_energy: Float[Tensor, " temperatures"]
    mean_energy_error: Float[Tensor, " temperatures"]
    state: ExchangeState

    def samples(self, level: int) -> Float[Tensor, "samples n"]:
        """Return the kept states that were at this level: samples of q_β at its β."""
        return self.x[:, level].flatten(0, 1)


def exchange_monte_carlo(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    n_sweeps: int,
    *,
    n_replicas: int = 1,
    initial: ExchangeState | None = None,
    keep_every: int = 1,
    rng: torch.Generator,
    progress: bool = False,
) -> Exchange:
    """Draw from the product of the distributions q_β over a ladder of temperatures.

    Equations (6.1), (6.2), (6.3), section 6. After each sweep at its own β every walker
    meets a neighbour on the ladder, in the pairs (0,1), (2,3), ... and (1,2), (3,4), ... by turns,
    and they exchange their temperatures with probability min{1, exp(-Δ)},

        Δ = F_β'(x) - F_β(x) + F_β(x') - F_β'(x'),

    the work of putting each in the other's place. No partition function and no weight is needed.

    All walkers of all replicas advance in one array. Reference: Hukushima and Nemoto (1996).

    Args:
        kernel: moves the walkers at fixed β, and measures the work of changing it.
        betas: the ladder, increasing; see `even_acceptance_ladder`.
        n_sweeps: sweeps of every walker, each followed by one round of exchanges.
        n_replicas: how many independent copies of the whole ladder.
        initial: the state of a run to continue; without it, draws from q_0 everywhere. Discard the
            first run, which has to reach equilibrium.
        keep_every: the states are kept after every so many sweeps.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        An `Exchange`. Continuing from `.state` with the same generator gives the numbers of one
        run.

    Raises:
        TypeError: if a tensor or a count is of the wrong kind.
        ValueError: if the ladder does not increase or holds less than two temperatures, initial
            does not fit, or a count is below one.
    """
    betas = require_betas(betas)
    if not 2 <= len(betas) <= torch.iinfo(torch.int16).max:
        raise ValueError(
            f"betas must hold at least two inverse temperatures to exchange, but it has "
            f"{len(betas)}; use simulated_annealing for chains at one."
        )
    require_count(n_sweeps, "n_sweeps")
    require_count(keep_every, "keep_every")
    state = _require_state(kernel, len(betas), n_replicas, initial, rng=rng)
    kept = []
    levels = torch.empty(n_sweeps, len(betas), n_replicas, dtype=torch.int16, device=state.x.device)
    probability_sum = betas.new_zeros(len(betas) - 1)
    n_proposals = torch.zeros_like(probability_sum)
    n_blocks = min(n_sweeps, -(-_FEWEST_MEANS // n_replicas))
    energy_sum = betas.new_zeros(n_blocks, len(betas), n_replicas)
    block_lengths = betas.new_zeros(n_blocks)
    for t in tqdm(range(n_sweeps), disable=not progress):
        state, probability = exchange_step(kernel, betas, state, rng=rng)
        first = (state.n_sweeps - 1) % 2
        probability_sum[first::2] += probability.sum(1)
        n_proposals[first::2] += n_replicas
        levels[t] = state.level
        walker = walkers_by_level(state.level)
        energy = kernel.energy(state.x.flatten(0, 1), betas[state.level].flatten())
        block = t * n_blocks // n_sweeps
        energy_sum[block] += energy.view(walker.shape).to(torch.float64).gather(0, walker)
        block_lengths[block] += 1
        if (t + 1) % keep_every == 0:
            kept.append(state.x.take_along_dim(walker[..., None], 0))
    means = (energy_sum / block_lengths[:, None, None]).transpose(1, 2).flatten(0, 1)
    error = means.std(0) / len(means) ** 0.5 if len(means) > 1 else betas * torch.nan
    return Exchange(
        x=torch.stack(kept) if kept else state.x.new_zeros(0, *state.x.shape),
        level=levels,
        keep_every=keep_every,
        acceptance=probability_sum / n_proposals,
        mean_energy=energy_sum.sum((0, 2)) / (n_sweeps * n_replicas),
        mean_energy_error=error,
        state=state,
    )


def exchange_step(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    state: ExchangeState,
    *,
    rng: torch.Generator,
) -> tuple[ExchangeState, Float[Tensor, "pairs replicas"]]:
    """Sweep every walker at its β, then decide the exchanges of every other pair.

    Returns:
        The new state, and the probabilities with which the exchanges were accepted.
    """
    shape = state.x.shape
    x = kernel.sweep(state.x.flatten(0, 1), betas[state.level].flatten(), rng=rng).reshape(shape)
    first = state.n_sweeps % 2
    probability = exchange_probability(kernel, betas, x, state.level, first)
    uniform = torch.rand(probability.shape, generator=rng, dtype=torch.float64, device=x.device)
    level = exchange_levels(state.level, uniform < probability, first)
    return ExchangeState(x, level, state.n_sweeps + 1), probability


def exchange_probability(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    x: Float[Tensor, "temperatures replicas n"],
    level: Int64[Tensor, "temperatures replicas"],
    first: int,
) -> Float[Tensor, "pairs replicas"]:
    """Compute min{1, exp(-Δ)} for the pairs (first, first + 1), (first + 2, first + 3), ...

    Equation (6.3), section 6. With hidden units the work of the marginal free energy is due,
    not (β' - β) times the free energy at β = 1.
    """
    levels = torch.arange(len(betas), device=level.device)
    n_pairs = (len(betas) - first) // 2
    pairs = levels[first : first + 2 * n_pairs].view(-1, 2)
    partner = levels.clone()
    partner[pairs] = pairs.flip(1)  # a level without partner keeps itself, with work zero
    target = betas[partner[level]].flatten()
    work = kernel.work(x.flatten(0, 1), betas[level].flatten(), target)
    work = work.to(torch.float64).view(level.shape).gather(0, walkers_by_level(level))
    return (-work[pairs].sum(1)).exp().clamp(max=1)  # work[pairs]: (pairs, 2, replicas)


def exchange_levels(
    level: Int64[Tensor, "temperatures replicas"],
    accept: Bool[Tensor, "pairs replicas"],
    first: int,
) -> Int64[Tensor, "temperatures replicas"]:
    """Return the levels of the walkers after the accepted exchanges; the states stay in place."""
    step = torch.zeros_like(level)  # by level: up or down
    upper = first + 1 + 2 * len(accept)
    step[first : upper - 1 : 2] = accept.to(step.dtype)
    step[first + 1 : upper : 2] = -accept.to(step.dtype)
    return level + step.gather(0, level)


def walkers_by_level(
    level: Int64[Tensor, "temperatures replicas"],
) -> Int64[Tensor, "temperatures replicas"]:
    """Invert the permutation: which walker is at each level."""
    walker = torch.arange(len(level), device=level.device)[:, None].expand_as(level)
    return torch.empty_like(level).scatter_(0, level, walker)


def _require_state(
    kernel: Kernel,
    n_levels: int,
    n_replicas: int,
    initial: ExchangeState | None,
    *,
    rng: torch.Generator,
) -> ExchangeState:
    require_count(n_replicas, "n_replicas")
    shape = (n_levels, n_replicas)
    if initial is None:
        x = require_chains(kernel, n_levels * n_replicas, None, rng=rng)
        level = torch.arange(n_levels, device=x.device)[:, None].expand(shape).contiguous()
        return ExchangeState(x.view(*shape, -1), level, 0)
    require_shape(require_tensor(initial.x, "initial.x"), (*shape, kernel.n_units), "initial.x")
    require_chains(kernel, n_levels * n_replicas, initial.x.flatten(0, 1), rng=rng)
    level = require_tensor(initial.level, "initial.level")
    require_shape(level, shape, "initial.level")
    if level.dtype != torch.int64:
        raise TypeError(f"initial.level must hold int64 indices, but its dtype is {level.dtype}.")
    every_level = torch.arange(n_levels, device=level.device)[:, None].expand(shape)
    if not torch.equal(level.sort(0).values, every_level):
        raise ValueError(
            "initial.level must hold every level of betas once in each column, one walker at "
            "each temperature, but it does not; pass the state of an earlier run unchanged."
        )
    require_count(initial.n_sweeps, "initial.n_sweeps", 0)
    return initial
