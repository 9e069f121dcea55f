"""Block Gibbs sampling of an RBM: all hidden units at once, then all visible units at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._affine import affine
from lecture_pkg._checks import require_count
from lecture_pkg._states import enumerate_states
from lecture_pkg.models.rbm import RBM, log_sum_over_unit, mean_of_unit, sample_unit
from lecture_pkg.sampling.kernel import InverseTemperature, as_column, require_reference


class BlockGibbs:
    """The kernel x → z → x of an RBM, on chains of visible units; see `Kernel`.

    Section 7.3. The path is q_β(x, z) ∝ exp((1 - β) aᵀx - β E(x, z)). Chains hold x alone, and the
    free energy of the path sums the hidden units out,

        F_β(x) = -((1 - β) a + β b)ᵀx - Σ_l ln Σ_{z_l} exp(β z_l (v_lᵀx + c_l)),

    so that exchanges and weights never see the noise of z.

    Args:
        model: its parameters are read at each call, so that a kernel follows the learning.
        reference: the field a on the visible units, shape (n_visible,).

    Raises:
        TypeError: if the model is no RBM, or reference has another dtype than the model.
        ValueError: if reference does not fit the model, or is not finite.
    """

    def __init__(self, model: RBM, *, reference: Float[Tensor, " visible"] | None = None):
        if not isinstance(model, RBM):
            raise TypeError(
                "model must be an RBM, whose layers are independent inside, but a "
                f"{type(model).__name__} was given; use HeatBath for a BoltzmannMachine."
            )
        self.model = model
        self.units = model.units
        self.reference = require_reference(reference, model.b)

    @property
    def n_units(self) -> int:
        """How many visible units the model has."""
        return self.model.n_visible

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the model."""
        return self.model.W.dtype

    @torch.no_grad()
    def initial(self, n_chains: int, *, rng: torch.Generator) -> Float[Tensor, "chains visible"]:
        """Draw independent chains from q_0, whose units are independent."""
        require_count(n_chains, "n_chains")
        return sample_unit(self.reference.expand(n_chains, -1), self.units, rng=rng)

    def initial_log_partition(self) -> Float[Tensor, ""]:
        """Compute ln Z_0: the visible units in the reference field, the hidden ones in none."""
        fields = torch.cat([self.reference, self.reference.new_zeros(self.model.n_hidden)])
        return log_sum_over_unit(fields.double(), self.units).sum()

    @torch.no_grad()
    def sweep(
        self,
        x: Float[Tensor, "chains visible"],
        beta: InverseTemperature = 1.0,
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains visible"]:
        """Draw z from q_β(z | x), then x from q_β(x | z)."""
        b = as_column(beta, x)
        z = sample_unit(self._hidden_field(x, b), self.units, rng=rng)
        return sample_unit(self._visible_field(z, b), self.units, rng=rng)

    @torch.no_grad()
    def energy(
        self, x: Float[Tensor, "chains visible"], beta: InverseTemperature = 1.0
    ) -> Float[Tensor, " chains"]:
        """Compute ∂F_β/∂β = aᵀx + E[E(x, z) | x, β]."""
        field = affine(x, self.model.W.T, self.model.c)  # (chains, hidden)
        mean_z = mean_of_unit(as_column(beta, x) * field, self.units)
        return x @ (self.reference - self.model.b) - (mean_z * field).sum(-1)

    @torch.no_grad()
    def work(
        self,
        x: Float[Tensor, "chains visible"],
        beta: InverseTemperature,
        beta_next: InverseTemperature,
    ) -> Float[Tensor, " chains"]:
        """Compute F_β'(x) - F_β(x), with the hidden units summed out at both ends."""
        field = affine(x, self.model.W.T, self.model.c)  # (chains, hidden)
        return self._work(x, field, as_column(beta, x), as_column(beta_next, x))

    @torch.no_grad()
    def work_and_sweep(
        self,
        x: Float[Tensor, "chains visible"],
        beta: InverseTemperature,
        beta_next: InverseTemperature,
        *,
        rng: torch.Generator,
    ) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains visible"]]:
        """Compute `work` and draw a `sweep` at β', sharing the product of x and W."""
        b, b_next = as_column(beta, x), as_column(beta_next, x)
        field = affine(x, self.model.W.T, self.model.c)  # (chains, hidden)
        z = sample_unit(b_next * field, self.units, rng=rng)
        x_next = sample_unit(self._visible_field(z, b_next), self.units, rng=rng)
        return self._work(x, field, b, b_next), x_next

    @torch.no_grad()
    def transition_matrix(self, beta: float = 1.0) -> Float[Tensor, "states states"]:
        """Compute w(x|x') = Σ_z q_β(x|z) q_β(z|x') exactly."""
        model = self.model
        W, b, c, a = (t.double() for t in (model.W, model.b, model.c, self.reference))
        x = enumerate_states(0, 2**model.n_visible, model.n_visible, self.units)
        z = enumerate_states(0, 2**model.n_hidden, model.n_hidden, self.units)
        hidden = beta * (x @ W + c)  # (states of x, hidden)
        visible = beta * (z @ W.T + b) + (1 - beta) * a  # (states of z, visible)
        z_given_x = hidden @ z.T - log_sum_over_unit(hidden, self.units).sum(-1, keepdim=True)
        x_given_z = visible @ x.T - log_sum_over_unit(visible, self.units).sum(-1, keepdim=True)
        return (z_given_x.exp() @ x_given_z.exp()).T

    def _work(self, x: Tensor, field: Tensor, beta: Tensor, beta_next: Tensor) -> Tensor:
        # Unit by unit before the sum: the difference of two large sums would lose float32's digits.
        change = log_sum_over_unit(beta_next * field, self.units)
        change -= log_sum_over_unit(beta * field, self.units)
        driven = (beta_next - beta)[:, 0] * (x @ (self.reference - self.model.b))
        return driven - change.sum(-1)

    def _hidden_field(self, x: Tensor, beta: Tensor) -> Tensor:
        return affine(x, self.model.W.T, self.model.c).mul_(beta)

    def _visible_field(self, z: Tensor, beta: Tensor) -> Tensor:
        alone = beta * self.model.b + (1 - beta) * self.reference
        return affine(z, self.model.W, None).mul_(beta).add_(alone)
