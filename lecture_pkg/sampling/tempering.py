"""Simulated tempering: the inverse temperature itself becomes a random variable of the chain."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_shape,
    require_tensor,
)
from lecture_pkg.sampling._ladder import require_betas, require_chains
from lecture_pkg.sampling.kernel import Kernel


@dataclass(frozen=True, eq=False)
class TemperingState:
    """Where every chain is: its units, and the index of its β on the ladder."""

    x: Float[Tensor, "chains n"]
    level: Int64[Tensor, " chains"]


@dataclass(frozen=True, eq=False)
class Tempering:
    """What `simulated_tempering` saw. Level 0 is the hottest.

    Attributes:
        level: the level of every chain after every sweep.
        x: the chains after every `keep_every`-th sweep.
        keep_every: how many sweeps lie between the kept ones.
        visits: how often the chains were found at each level.
        acceptance: the fraction of accepted proposals between the levels k and k + 1, both ways;
            NaN where none was made.
        mean_energy: mean of ∂F_β/∂β at each level; NaN where no chain came.
        mean_energy_error: standard errors of those, from the spread between chains, hence honest
            about autocorrelation as soon as there are tens of chains; NaN where only one came.
        state: the `initial` of a run that goes on.
    """

    level: Int64[Tensor, "sweeps chains"]
    x: Float[Tensor, "kept chains n"]
    keep_every: int
    visits: Int64[Tensor, " temperatures"]
    acceptance: Float[Tensor, " pairs"]
    mean_energy: Float[Tensor, " temperatures"]
    mean_energy_error: Float[Tensor, " temperatures"]
    state: TemperingState

    def samples(self, level: int) -> Float[Tensor, "samples n"]:
        """Return the kept states that were at this level: samples of q_β at its β."""
        return self.x[self.level[self.keep_every - 1 :: self.keep_every] == level]


def simulated_tempering(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    n_chains: int,
    n_sweeps: int,
    *,
    weights: Float[Tensor, " temperatures"],
    initial: TemperingState | None = None,
    keep_every: int = 1,
    rng: torch.Generator,
    progress: bool = False,
) -> Tempering:
    """Draw from the joint distribution P(x, β_k) ∝ exp(-F_k(x) + g_k).

    Equations (5.35), (5.40), section 5.5. After each sweep at its own β a chain proposes the
    level above or below with probability ½ each and accepts with
    min{1, exp(-(F_j(x) - F_k(x)) + g_j - g_k)}; a proposal beyond an end of the ladder is refused,
    which keeps the proposal symmetric. At each β the samples are those of q_β whatever g is; g
    decides only how often it is visited, Z(β_k) exp(g_k). Reference: Marinari and Parisi (1992).

    Args:
        kernel: moves the chains at fixed β, and measures the work of changing it.
        betas: the ladder, increasing; with β_0 = 0 fresh chains start in equilibrium at level 0.
        n_chains: how many independent chains.
        n_sweeps: sweeps of every chain, each followed by one proposal of a level.
        weights: g; a common constant does not matter. See `tempering_weights`,
            `adapt_tempering_weights`.
        initial: the state of a run to continue; without it, draws from q_0 at level 0.
        keep_every: the states are kept after every so many sweeps.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        A `Tempering`.

    Raises:
        TypeError: if a tensor or a count is of the wrong kind.
        ValueError: if the ladder does not increase, weights or initial does not fit, or a count is
            below one.
    """
    betas = require_betas(betas)
    weights = require_weights(weights, betas)
    require_count(n_sweeps, "n_sweeps")
    require_count(keep_every, "keep_every")
    state = require_state(kernel, n_chains, initial, len(betas), rng=rng)
    levels, kept = [], []
    proposed = torch.zeros(len(betas) - 1, dtype=torch.int64, device=state.x.device)
    accepted = torch.zeros_like(proposed)
    energy_sum = betas.new_zeros(n_chains, len(betas))
    counts = torch.zeros_like(energy_sum)
    for t in tqdm(range(1, n_sweeps + 1), disable=not progress):
        state, pair, accept = tempering_step(kernel, betas, weights, state, rng=rng)
        proposed += torch.bincount(pair[pair >= 0], minlength=len(proposed))
        accepted += torch.bincount(pair[accept], minlength=len(proposed))
        energy = kernel.energy(state.x, betas[state.level]).to(torch.float64)
        energy_sum.scatter_add_(1, state.level[:, None], energy[:, None])
        counts.scatter_add_(1, state.level[:, None], torch.ones_like(energy)[:, None])
        levels.append(state.level)
        if t % keep_every == 0:
            kept.append(state.x)
    mean, error = _ratio_with_error(energy_sum, counts)
    return Tempering(
        level=torch.stack(levels),
        x=torch.stack(kept) if kept else state.x.new_zeros(0, *state.x.shape),
        keep_every=keep_every,
        visits=counts.sum(0).to(torch.int64),
        acceptance=accepted / proposed.to(torch.float64),
        mean_energy=mean,
        mean_energy_error=error,
        state=state,
    )


def tempering_step(
    kernel: Kernel,
    betas: Tensor,
    weights: Tensor,
    state: TemperingState,
    *,
    rng: torch.Generator,
) -> tuple[TemperingState, Tensor, Tensor]:
    """Sweep at the level's β, then propose a neighbour; pair is -1 where there is none."""
    level = state.level
    x = kernel.sweep(state.x, betas[level], rng=rng)
    uniform = torch.rand(2, len(level), generator=rng, dtype=torch.float64, device=x.device)
    neighbour = level + torch.where(uniform[0] < 0.5, 1, -1)
    exists = (neighbour >= 0) & (neighbour < len(betas))
    target = torch.where(exists, neighbour, level)
    # The weights are no part of the energy: no β multiplies them.
    log_ratio = weights[target] - weights[level] - kernel.work(x, betas[level], betas[target])
    accept = exists & (uniform[1] < log_ratio.exp())
    pair = torch.where(exists, torch.minimum(level, target), -1)
    return TemperingState(x, torch.where(accept, target, level)), pair, accept


def _ratio_with_error(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ total / Σ count over chains, with the error of a ratio of independent sums."""
    n, visitors = count.sum(0), (count > 0).sum(0)
    mean = total.sum(0) / n
    residual = (total - mean * count).square().sum(0) * visitors / (visitors - 1)
    return mean, torch.where(visitors > 1, residual.sqrt() / n, torch.nan)


def require_weights(weights: Tensor, betas: Tensor) -> Tensor:
    """Return g in float64 if it holds one finite number for each β."""
    require_floating(weights, "weights")
    require_shape(weights, (len(betas),), "weights")
    require_finite(weights, "weights")
    return weights.to(torch.float64)


def require_state(
    kernel: Kernel,
    n_chains: int,
    initial: TemperingState | None,
    n_levels: int,
    *,
    rng: torch.Generator,
) -> TemperingState:
    """Return the state to start from: the one given, or draws from q_0 at the hottest level."""
    x = require_chains(kernel, n_chains, None if initial is None else initial.x, rng=rng)
    if initial is None:
        return TemperingState(x, torch.zeros(n_chains, dtype=torch.int64, device=x.device))
    level = require_tensor(initial.level, "initial.level")
    require_shape(level, (n_chains,), "initial.level")
    if level.dtype != torch.int64:
        raise TypeError(f"initial.level must hold int64 indices, but its dtype is {level.dtype}.")
    if bool(((level < 0) | (level >= n_levels)).any()):
        raise ValueError(
            f"initial.level must lie between 0 and {n_levels - 1}, the indices of betas, but it "
            f"reaches from {int(level.min())} to {int(level.max())}."
        )
    return initial
