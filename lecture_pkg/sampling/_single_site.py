"""Kernels that decide on one unit at a time, in order or at random."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from threadpoolctl import ThreadpoolController
from torch import Tensor

from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.models.rbm import RBM
from lecture_pkg.sampling._pairwise import PairwiseKernel, flipped_index
from lecture_pkg.sampling.kernel import InverseTemperature, as_column

_BLOCK = 20  # units between two matrix products; larger blocks have more to mend inside


class SingleSiteKernel(PairwiseKernel):
    """Single flips; the rule is `flip_probability`, and `_noise` is the same rule as a threshold.

    Given all others, a unit has the log-odds κ f for its upper value, with the field f of the
    path, κ = 2 for spins and κ = 1 for binary units. Both rules can be written as: the unit takes
    the upper value where its log-odds plus a noise are positive. That costs one comparison a unit.
    """

    def __init__(
        self,
        model: BoltzmannMachine | RBM | IsingLattice,
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
    def _noise(uniform: np.ndarray, side: np.ndarray) -> np.ndarray:
        """Turn numbers in [0, 1) into the noise that is added to the log-odds.

        The unit takes its upper value where the sum is positive; `side` is +1 for units that are
        at it now, -1 for the others.
        """
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
        self._require_chains(x, beta)
        if self.scan == "sequential":
            # products this small lose on several threads, and badly where cores are shared
            with _numpy_threads().limit(limits=1, user_api="blas"):
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
        """Propose to change one unit of every chain, and accept by `flip_probability`.

        Equation (5.16), section 5.2: the proposal is the same in both directions, and what is
        not accepted stays.
        """
        machine = self._machine()
        chain = torch.arange(len(x), device=x.device)
        here = x[chain, site]
        there = -here if self.units == "spin" else 1 - here
        field = (machine.J[site] * x).sum(1) + machine.h[site]
        b = as_column(beta, x)[:, 0]
        log_ratio = (there - here) * (b * field + (1 - b) * self.reference[site])
        uniform = torch.empty_like(here).uniform_(generator=rng)
        accepted = uniform < self.flip_probability(log_ratio)
        x = x.clone()
        x[chain, site] = torch.where(accepted, there, here)
        return x

    @torch.no_grad()
    def transition_matrix(self, beta: float = 1.0) -> Float[Tensor, "states states"]:
        """Compute w(x|x') of one sweep exactly.

        Equation (5.19), section 5.2: with w_i for the update of unit i it is w_n ⋯ w_2 w_1 in
        sequence, and the n-th power of their mean at random.
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

        A block's log-odds are computed from the values before the block, without the units inside
        that change first; each of those is added when it has its new value. They are divided by
        κ β, which does not move their sign.
        """
        machine, spin = self._machine(), self.units == "spin"
        h, a = (t.detach().cpu().numpy()[:, None] for t in (machine.h, self.reference))
        J, (pairs, earlier) = np.zeros((len(h), len(h)), h.dtype), _masks(len(h))
        J[pairs] = machine.couplings.detach().cpu().numpy()
        J += J.T.copy()
        before = np.where(earlier, 0, J)  # acts on the values from before the block
        within = np.where(earlier, J, np.eye(len(h), dtype=h.dtype))
        # β = 0 as 1e-30: dividing by it leaves the noise alone to decide, as it should
        b = np.maximum(torch.as_tensor(beta, dtype=x.dtype).cpu().numpy(), 1e-30)  # () or (chains,)
        bias = h + a * ((1 - b) / b).astype(h.dtype)  # (n, 1) or (n, chains)
        scale = (1 / ((2 if spin else 1) * b)).astype(h.dtype)
        values = np.array(x.detach().cpu().numpy().T, order="C")  # (n, chains): rows contiguous
        ones, log_odds = np.ones_like(values[0]), np.empty_like(values[0])
        seed = int(torch.randint(2**63 - 1, (), generator=rng, device=rng.device))
        numpy_rng = np.random.Generator(np.random.SFC64(seed))
        for start in range(0, len(values), _BLOCK):
            block = slice(start, start + _BLOCK)
            unit = values[block]
            noise = numpy_rng.random(unit.shape, dtype=unit.dtype)
            noise = self._noise(noise, unit if spin else 2 * unit - 1)
            noise *= scale
            noise += bias[block]
            new = before[block] @ values
            new += noise
            for k, row in enumerate(within[block, block]):
                # rows before k hold values already, row k what the others contribute to it
                np.dot(row[: k + 1], new[: k + 1], out=log_odds)
                if spin:
                    np.copysign(ones, log_odds, out=new[k])
                else:
                    np.greater(log_odds, 0, out=new[k])
            values[block] = new
        return torch.from_numpy(values).T.to(x.device)


@cache
def _masks(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mark the pairs k < l in an (n, n) matrix, and the columns earlier in the row's own block."""
    unit = np.arange(n)
    same_block = unit[:, None] // _BLOCK == unit // _BLOCK
    return unit[:, None] < unit, same_block & (unit[:, None] > unit)


@cache
def _numpy_threads() -> ThreadpoolController:
    return ThreadpoolController()
