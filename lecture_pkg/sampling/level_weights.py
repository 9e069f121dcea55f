"""The weights that simulated tempering needs: integrated from energies, or learned on the way."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import require_count, require_finite, require_floating, require_shape
from lecture_pkg.sampling._ladder import require_betas
from lecture_pkg.sampling.kernel import Kernel
from lecture_pkg.sampling.tempering import (
    TemperingState,
    require_state,
    require_weights,
    tempering_step,
)


def tempering_weights(
    betas: Float[Tensor, " temperatures"], mean_energies: Float[Tensor, " temperatures"]
) -> Float[Tensor, " temperatures"]:
    """Integrate the mean energy over β by the trapezoid rule: g_k ≈ -ln Z(β_k) + ln Z(β_0).

    Equation (5.39), section 5.5. Each step errs by (β_{k+1} - β_k)³/12 times the second
    derivative of ⟨E⟩_β somewhere between, and what the mean energies err by adds to that.

    Args:
        betas: the ladder, increasing.
        mean_energies: ⟨∂F_β/∂β⟩ at each β: ⟨E⟩_β for visible units without reference.

    Returns:
        g, float64, with g_0 = 0.

    Raises:
        TypeError: if an argument is no floating-point tensor.
        ValueError: if the ladder does not increase, the lengths differ, or a number is not finite.
    """
    betas = require_betas(betas)
    require_floating(mean_energies, "mean_energies")
    require_shape(mean_energies, (len(betas),), "mean_energies")
    require_finite(mean_energies, "mean_energies")
    steps = torch.cumulative_trapezoid(mean_energies.to(torch.float64), betas)
    return torch.cat([steps.new_zeros(1), steps])


@dataclass(frozen=True, eq=False)
class WeightAdaptation:
    """What `adapt_tempering_weights` learned, and all it needs to go on.

    Attributes:
        weights: g after the last sweep, with g_0 = 0; estimates -ln Z(β_k) + ln Z(β_0).
        history: g after every sweep of this run.
        level: the level of every chain after every sweep of this run.
        state: where the chains are.
        n_sweeps: how many sweeps the adaptation has taken, in earlier runs too.
    """

    weights: Float[Tensor, " temperatures"]
    history: Float[Tensor, "sweeps temperatures"]
    level: Int64[Tensor, "sweeps chains"]
    state: TemperingState
    n_sweeps: int


def adapt_tempering_weights(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    n_chains: int,
    n_sweeps: int,
    *,
    weights: Float[Tensor, " temperatures"] | None = None,
    first_phase: int = 200,
    initial: WeightAdaptation | None = None,
    rng: torch.Generator,
    progress: bool = False,
) -> WeightAdaptation:
    """Learn g by stochastic approximation: levels visited too often lose weight.

    Equation (5.42), section 5.5. After sweep t, with p_k the fraction of chains at level k of K,

        g_k ← g_k - γ_t K (p_k - 1/K),   γ_t = min(1/K, t^-0.6) at first, then about 1/t.

    The gain of the second phase is the optimal one of the theory; it diminishes, so that g
    converges. The chain is no Markov chain while g changes: freeze g, then sample. Reference: Tan
    (2017), Optimally adjusted mixture sampling, J. Comput. Graph. Stat. 26, 54-65; the idea is that
    of Wang and Landau (2001).

    Args:
        kernel: as for `simulated_tempering`.
        betas: the ladder, increasing.
        n_chains: how many chains share one g.
        n_sweeps: sweeps of every chain in this run.
        weights: g to start from, such as that of `tempering_weights`; zeros without it.
        first_phase: number of sweeps with the larger gain; long enough for chains to have been
            everywhere.
        initial: an adaptation to continue; excludes `weights`.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        A `WeightAdaptation`.

    Raises:
        TypeError: if a tensor or a count is of the wrong kind.
        ValueError: as for `simulated_tempering`; if both weights and initial are given.
    """
    betas = require_betas(betas)
    require_count(n_sweeps, "n_sweeps")
    require_count(first_phase, "first_phase")
    if initial is not None and weights is not None:
        raise ValueError("weights must not be given with initial, which holds them already.")
    start = 0 if initial is None else initial.n_sweeps
    weights = betas.new_zeros(len(betas)) if weights is None else weights
    g = require_weights(weights if initial is None else initial.weights, betas)
    before = None if initial is None else initial.state
    state = require_state(kernel, n_chains, before, len(betas), rng=rng)
    history, levels = [], []
    for t in tqdm(range(start + 1, start + n_sweeps + 1), disable=not progress):
        state, _, _ = tempering_step(kernel, betas, g, state, rng=rng)
        fraction = torch.bincount(state.level, minlength=len(betas)) / n_chains
        g = g - _gain(t, first_phase, len(betas)) * (len(betas) * fraction - 1)
        g = g - g[0]
        history.append(g)
        levels.append(state.level)
    return WeightAdaptation(g, torch.stack(history), torch.stack(levels), state, start + n_sweeps)


def _gain(t: int, first_phase: int, n_levels: int) -> float:
    if t <= first_phase:
        return min(1 / n_levels, t**-0.6)
    return min(1 / n_levels, 1 / (t - first_phase + first_phase**0.6))
