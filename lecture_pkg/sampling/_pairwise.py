"""What the kernels of pair-coupled units share: the path, its energies, its states."""

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_count, require_same_dtype, require_shape
from lecture_pkg._states import enumerate_states
from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.models.rbm import RBM, log_sum_over_unit, sample_unit
from lecture_pkg.sampling.kernel import InverseTemperature, as_column, require_reference

_LARGEST_MATRIX = 13  # units; the matrix then holds 2^26 numbers, half a gigabyte


class PairwiseKernel:
    """Everything but the moves: chains of all units of a machine whose units couple in pairs."""

    def __init__(
        self,
        model: BoltzmannMachine | RBM | IsingLattice,
        *,
        reference: Float[Tensor, " n"] | None = None,
    ):
        if not isinstance(model, BoltzmannMachine | RBM | IsingLattice):
            raise TypeError(
                "model must be a BoltzmannMachine, an RBM or an IsingLattice, whose units couple "
                f"in pairs, but a {type(model).__name__} was given."
            )
        self.model = model
        self.units = model.units
        self.reference = require_reference(reference, self._machine().h)

    @property
    def n_units(self) -> int:
        """How many units a chain holds; of an RBM the visible ones, then the hidden ones."""
        return len(self.reference)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the model."""
        return self.reference.dtype

    @torch.no_grad()
    def initial(self, n_chains: int, *, rng: torch.Generator) -> Float[Tensor, "chains n"]:
        """Draw independent chains from q_0, whose units are independent."""
        require_count(n_chains, "n_chains")
        return sample_unit(self.reference.expand(n_chains, -1), self.units, rng=rng)

    def initial_log_partition(self) -> Float[Tensor, ""]:
        """Compute ln Z_0 of independent units in the reference field."""
        return log_sum_over_unit(self.reference.double(), self.units).sum()

    @torch.no_grad()
    def energy(
        self, x: Float[Tensor, "chains n"], beta: InverseTemperature = 1.0
    ) -> Float[Tensor, " chains"]:
        """Compute ∂F_β/∂β = aᵀx + E(x), the same at every β."""
        machine = self._machine()
        rows = x.T  # in the layout that sequential sweeps leave
        return (self.reference - machine.h) @ rows - ((machine.J @ rows) * rows).sum(0) / 2

    @torch.no_grad()
    def work(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature,
        beta_next: InverseTemperature,
    ) -> Float[Tensor, " chains"]:
        """Compute F_β'(x) - F_β(x) = (β' - β) (aᵀx + E(x))."""
        return (as_column(beta_next, x) - as_column(beta, x))[:, 0] * self.energy(x)

    def _machine(self) -> BoltzmannMachine:
        """Return the model, read anew, as one Boltzmann machine over all its units."""
        model = self.model
        return model if isinstance(model, BoltzmannMachine) else model.to_boltzmann_machine()

    @torch.no_grad()
    def _log_weights(self, beta: float) -> Float[Tensor, " states"]:
        """Compute ln q_β(x) + ln Z_β of all states in float64, in the order of `exact.states`."""
        n, machine = self.n_units, self._machine()
        if n > _LARGEST_MATRIX:
            raise ValueError(
                f"a transition matrix needs at most {_LARGEST_MATRIX} units, but the model has {n}"
                f", and the matrix would hold 4^{n} numbers; take a smaller model."
            )
        x = enumerate_states(0, 2**n, n, self.units)
        energy = -(x @ machine.h.double() + ((x @ machine.J.double()) * x).sum(-1) / 2)
        return (1 - beta) * (x @ self.reference.double()) - beta * energy

    def _require_chains(self, x: Tensor, beta: InverseTemperature) -> None:
        require_shape(x, (None, self.n_units), "x")
        require_same_dtype(x=x, model=self.reference)
        if bool((torch.as_tensor(beta) < 0).any()):
            raise ValueError(
                "beta must not be negative; turn the signs of the couplings and fields instead."
            )


def flipped_index(n: int, site: int) -> Tensor:
    """Return, for every state of n units, the index of the state that differs in one unit."""
    return torch.arange(2**n) ^ (1 << (n - 1 - site))
