"""What every Markov kernel of this package can do, and the path of temperatures it works on.

A kernel moves chains so that one distribution stays as it is. The methods of many temperatures
need a whole path of them, from one that can be drawn and summed at once to the model itself:

    q_β(x) ∝ exp(a·x (1 - β) - β E(x)),   0 ≤ β ≤ 1 (or beyond)

`a` is the reference field: at β = 0 the units are independent with log-odds a (2a for spins).
Without one, a = 0 and β is the inverse temperature of the model, as in statistical physics.

Where hidden variables are summed out, as by `BlockGibbs`, q_β is what that sum leaves:
q_β(x) ∝ exp(-F_β(x)), with a free energy that is no longer proportional to β. Therefore the
methods never multiply an energy by β themselves; they ask the kernel for the `work`.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import require_finite, require_floating, require_same_dtype, require_shape

InverseTemperature = float | Float[Tensor, " chains"]


@runtime_checkable
class Kernel(Protocol):
    """Moves that leave every distribution of the path as it is.

    Chains are rows: x has shape (chains, n_units), in the model's units and dtype. β is one
    number for all chains, or one for each. No method changes its arguments in place.
    """

    units: str

    @property
    def n_units(self) -> int:
        """How many units a chain holds."""

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the chains."""

    def initial(self, n_chains: int, *, rng: torch.Generator) -> Float[Tensor, "chains n"]:
        """Draw independent chains from q_0, exactly."""

    def initial_log_partition(self) -> Float[Tensor, ""]:
        """Compute ln Z_0, the logarithm of the sum of exp(-F_0) over the states, in float64."""

    def sweep(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature = 1.0,
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains n"]:
        """Update every unit once (on average, where sites are drawn), leaving q_β invariant."""

    def energy(
        self, x: Float[Tensor, "chains n"], beta: InverseTemperature = 1.0
    ) -> Float[Tensor, " chains"]:
        """Compute ∂F_β(x)/∂β; its mean under q_β is the derivative of -ln Z_β.

        For visible units alone without reference it is the energy E(x), whatever β is.
        """

    def work(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature,
        beta_next: InverseTemperature,
    ) -> Float[Tensor, " chains"]:
        """Compute F_β'(x) - F_β(x): the work of moving the parameter from β to β' at fixed x.

        For visible units alone it is (β' - β) times the energy.
        """

    def transition_matrix(self, beta: float = 1.0) -> Float[Tensor, "states states"]:
        """Compute w(x|x') of one sweep exactly, in float64, in the order of `exact.states`.

        Row x, column x', as in P_{t+1}(x) = Σ_x' w(x|x') P_t(x'): columns sum to one.
        """


def as_column(beta: InverseTemperature, like: Tensor) -> Tensor:
    """Return β in the dtype of `like`, ready to multiply (chains, n)."""
    return torch.as_tensor(beta, dtype=like.dtype, device=like.device).reshape(-1, 1)


def require_reference(reference: Tensor | None, field: Tensor) -> Tensor:
    """Return the reference field, zero where none is given; `field` has its shape and dtype."""
    if reference is None:
        return torch.zeros_like(field.detach())
    require_floating(reference, "reference")
    require_shape(reference, tuple(field.shape), "reference")
    require_same_dtype(reference=reference, model=field)
    require_finite(reference, "reference")
    return reference
