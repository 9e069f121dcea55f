"""Where to put the temperatures: a ladder on which every exchange is accepted equally often."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_count
from lecture_pkg.sampling.exchange import ExchangeState, exchange_monte_carlo
from lecture_pkg.sampling.kernel import Kernel

_SHORTEST_ROUND = 10  # sweeps
_LARGEST_REJECTION = 1 - 1e-12  # erfinv(1) is infinite


@dataclass(frozen=True, eq=False)
class EvenLadder:
    """What `even_acceptance_ladder` found.

    Attributes:
        betas: the ladder, increasing, ready for `exchange_monte_carlo`.
        length: the sum of erfinv(1 - acceptance) over the pairs, whatever their number: about
            ½ ∫ σ_E(β) dβ.
    """

    betas: Float[Tensor, " temperatures"]
    length: float

    @property
    def acceptance(self) -> float:
        """The acceptance to expect between any two neighbours."""
        return math.erfc(self.length / (len(self.betas) - 1))

    def n_temperatures_for(self, acceptance: float) -> int:
        """Return how many temperatures reach this acceptance between the same ends.

        Raises:
            ValueError: if the acceptance does not lie between zero and one.
        """
        if not 0 < acceptance < 1:
            raise ValueError(
                f"acceptance must lie between 0 and 1, but {acceptance} was given; 0.2 to 0.6 is "
                "usual."
            )
        step = float(torch.erfinv(torch.tensor(1 - acceptance, dtype=torch.float64)))
        return max(1, math.ceil(self.length / step)) + 1


def even_acceptance_ladder(
    kernel: Kernel,
    beta_min: float,
    beta_max: float,
    n_temperatures: int,
    *,
    n_sweeps: int = 2000,
    n_replicas: int = 8,
    rng: torch.Generator,
    progress: bool = False,
) -> EvenLadder:
    """Place temperatures so that all neighbours exchange equally often, by pilot runs.

    Equations (6.4), (6.5), section 6. If energies were Gaussian, the acceptance between β and
    β' would be erfc(½ ∫ σ_E dβ), so that d = erfinv(1 - acceptance) adds up along the ladder. Each
    pilot run measures d between neighbours and moves the temperatures to equal shares of the sum;
    a ladder that stays where it is has even acceptance, Gaussian or not. Every run is twice as
    long as the one before and starts from its states. References: Predescu, Predescu and Ciobanu
    (2004), J. Chem. Phys. 120, 4119; Syed, Bouchard-Côté, Deligiannidis and Doucet (2022),
    algorithm 2, whose communication barrier is the same sum to first order in the spacing.

    Args:
        kernel: as for `exchange_monte_carlo`.
        beta_min: the hottest inverse temperature, kept; with 0 fresh states are independent.
        beta_max: the coldest, kept.
        n_temperatures: the number of temperatures, both ends included.
        n_sweeps: sweeps of all pilot runs together, half of them in the last one.
        n_replicas: independent copies of the ladder in the pilot runs.
        rng: the source of all randomness.
        progress: shows a bar for each run.

    Returns:
        An `EvenLadder`.

    Raises:
        TypeError: if a count is not an integer.
        ValueError: if the ends are not 0 <= beta_min < beta_max < infinity, or a count is too
            small.
    """
    if not 0 <= beta_min < beta_max < math.inf:
        raise ValueError(
            f"beta_min must be at least 0 and below a finite beta_max, but {beta_min} and "
            f"{beta_max} were given; inverse temperatures increase from hot to cold."
        )
    require_count(n_temperatures, "n_temperatures", 2)
    require_count(n_sweeps, "n_sweeps", 2)
    betas = torch.linspace(beta_min, beta_max, n_temperatures, dtype=torch.float64)
    state: ExchangeState | None = None
    length = 0.0
    n_rounds = max(1, int(math.log2(n_sweeps / _SHORTEST_ROUND)))
    for remaining in range(n_rounds, 0, -1):
        run = exchange_monte_carlo(
            kernel,
            betas,
            max(2, n_sweeps >> remaining),  # both kinds of pairs
            n_replicas=n_replicas,
            initial=state,
            keep_every=n_sweeps,
            rng=rng,
            progress=progress,
        )
        state = run.state
        rejection = (1 - run.acceptance).clamp(1e-12, _LARGEST_REJECTION)
        distance = rejection.erfinv()
        length = float(distance.sum())
        betas = _equal_shares(betas, distance)
    return EvenLadder(betas, length)


def _equal_shares(
    betas: Float[Tensor, " temperatures"], distance: Float[Tensor, " pairs"]
) -> Float[Tensor, " temperatures"]:
    """Move the inner points so that the distance, spread evenly in each interval, is shared."""
    reached = torch.cat([distance.new_zeros(1), distance.cumsum(0)])
    wanted = torch.linspace(0, 1, len(betas), dtype=torch.float64)[1:-1] * reached[-1]
    interval = (torch.searchsorted(reached, wanted) - 1).clamp(0, len(distance) - 1)
    fraction = (wanted - reached[interval]) / distance[interval]
    inner = betas[interval] + fraction * betas.diff()[interval]
    return torch.cat([betas[:1], inner, betas[-1:]])
