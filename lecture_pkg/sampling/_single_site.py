"""Kernels that decide on one unit at a time, in order or at random."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.rbm import RBM
from lecture_pkg.sampling._pairwise import PairwiseKernel, flipped_index
from lecture_pkg.sampling.kernel import InverseTemperature, as_column

_BLOCK = 10  # units between two matrix products; larger blocks have more to mend inside


class SingleSiteKernel(PairwiseKernel):
    """Single flips; the rule is `flip_probability`, and `_noise` is the same rule as a threshold.

    Given all others, a unit has the log-odds κ f for its upper value, with the field f of the
    path, κ = 2 for spins and κ = 1 for binary units. Both rules can be written as: the unit takes
    the upper value where its log-odds exceed a random number. That costs one comparison a unit.
    """

    def __init__(
        self,
        model: BoltzmannMachine | RBM,
        *,
        scan: str = "sequential",
        reference: Float[Tensor, " n"] | None = None,
    ):
        if scan not in ("sequential", "random"):
            raise ValueError(f'scan must be "sequential" or "random", not {scan!r}.')
        super().__init__(model, reference=reference)
        self.scan = scan

    @staticmethod
    def flip_probability(log_ratio: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Compute the probability of a flip that multiplies the weight by exp(log_ratio)."""
        raise NotImplementedError

    @staticmethod
    def _noise(uniform: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Turn uniform numbers into thresholds; `upper` marks units at their upper value."""
        raise NotImplementedError

    @torch.no_grad()
    def sweep(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature = 1.0,
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains n"]:
        """Make n updates a chain: of every unit in order, or of units that each chain draws."""
        self._require_chains(x)
        if self.scan == "sequential":
            return self._sequential_sweep(x, beta, rng=rng)
        for _ in range(self.n_units):
            site = torch.randint(self.n_units, (len(x),), generator=rng, device=x.device)
            x = self.update(x, site, beta, rng=rng)
        return x

    @torch.no_grad()
    def update(
        self,
        x: Float[Tensor, "chains n"],
        site: Int[Tensor, " chains"],
        beta: InverseTemperature = 1.0,
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains n"]:
        """Decide on one unit of every chain."""
        machine = self._machine()
        chain = torch.arange(len(x), device=x.device)
        here = x[chain, site]
        there = -here if self.units == "spin" else 1 - here
        field = (machine.J[site] * x).sum(1) + machine.h[site]
        b = as_column(beta, x)[:, 0]
        log_ratio = (there - here) * (b * field + (1 - b) * self.reference[site])
        uniform = torch.rand(len(x), generator=rng, dtype=x.dtype, device=x.device)
        x = x.clone()
        x[chain, site] = torch.where(uniform < self.flip_probability(log_ratio), there, here)
        return x

    @torch.no_grad()
    def transition_matrix(self, beta: float = 1.0) -> Float[Tensor, "states states"]:
        """Compute w(x|x') of one sweep exactly.

        With w_i for the update of unit i it is w_n ⋯ w_2 w_1 in sequence, and the n-th power of
        their mean at random.
        """
        n, log_weights = self.n_units, self._log_weights(beta)
        matrix = torch.eye(2**n, dtype=torch.float64)
        mean = torch.zeros_like(matrix)
        for site in range(n):
            partner = flipped_index(n, site)
            flip = self.flip_probability(log_weights[partner] - log_weights)[:, None]
            before = matrix if self.scan == "sequential" else torch.eye(2**n, dtype=torch.float64)
            after = (1 - flip) * before + flip[partner] * before[partner]
            matrix, mean = after, mean + after / n
        return matrix if self.scan == "sequential" else torch.linalg.matrix_power(mean, n)

    def _sequential_sweep(
        self, x: Tensor, beta: InverseTemperature, *, rng: torch.Generator
    ) -> Tensor:
        """Update the units in order, all chains at once, with one matrix product a block.

        A block's fields are computed from the values before the block, without those inside that
        are to change first; each of them is added when it has its new value.
        """
        machine, spin = self._machine(), self.units == "spin"
        J, h, a = (t.detach().cpu().numpy() for t in (machine.J, machine.h, self.reference))
        b = np.asarray(torch.as_tensor(beta, dtype=x.dtype).cpu())  # () or (chains,)
        values = np.array(x.detach().cpu().numpy().T, order="C")  # (n, chains): rows contiguous
        seed = int(torch.randint(2**63 - 1, (), generator=rng, device=rng.device))
        numpy_rng = np.random.Generator(np.random.SFC64(seed))
        smallest = np.finfo(values.dtype).eps / 4  # half a step of the uniform numbers
        for start in range(0, len(values), _BLOCK):
            block = slice(start, start + _BLOCK)
            inside, unit = J[block, block], values[block]
            old = J[block].copy()
            old[:, block] = np.triu(inside)
            uniform = np.maximum(numpy_rng.random(unit.shape, dtype=unit.dtype), smallest)
            noise = self._noise(uniform, unit > 0) / (2 if spin else 1)
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                # β f + (1 - β) a > noise; at β = 0 the threshold is infinite, which is right
                threshold = (noise - (1 - b) * a[block, None]) / b
            excess = old @ values + (h[block, None] - threshold)
            for k in range(len(unit)):
                if k:
                    excess[k] += inside[k, :k] @ unit[:k]
                unit[k] = np.copysign(1, excess[k]) if spin else excess[k] > 0
        return torch.from_numpy(values).T.to(x.device)
