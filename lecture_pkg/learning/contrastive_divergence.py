"""Contrastive divergence: the model's average taken after a few steps away from the data."""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_shape,
    require_tensor,
    require_unit_values,
)
from lecture_pkg.learning.moment_gradient import (
    draw,
    mean_hidden,
    mean_visible,
    write_boltzmann_gradient,
    write_rbm_gradient,
)
from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.rbm import RBM
from lecture_pkg.sampling.heat_bath import HeatBath


class ContrastiveDivergence:
    """The CD-k gradient; for `lecture_pkg.learning.fit`.

    Equation (7.25), section 7.4. Chains start at the data, make k sweeps, and stand in for the
    model:

        gradient = average of the statistics over the chains - their average over the data

    An RBM is swept by block Gibbs; its hidden units enter both averages through E[z | x]. A
    Boltzmann machine is swept by `HeatBath`. No derivative is taken through the samples.

    References: Hinton, Neural Computation 14 (2002) 1771; centring: Montavon and Müller, LNCS
    7700 (2012) 621, and Melchior, Fischer and Wiskott, JMLR 17 (2016) 99, with the means of the
    batch as offsets. The centred gradient is the gradient in the parameters of the centred
    energy, carried back to W, b and c; it vanishes where the plain one does.

    Args:
        k: sweeps away from the data.
        rng: moves the chains.
        centered: whether to return the centred gradient.

    Raises:
        TypeError: if `k` is not an integer, or `rng` is no generator.
        ValueError: if `k` is below one.
    """

    def __init__(self, k: int = 1, *, rng: torch.Generator, centered: bool = False):
        self.k = require_count(k, "k")
        self.rng = require_generator(rng)
        self.centered = centered

    def __call__(self, model: RBM | BoltzmannMachine, x: Real[Tensor, "n visible"]) -> None:
        """Overwrite `.grad` of the parameters. The objective is not known: it returns None.

        Args:
            model: an RBM or a Boltzmann machine.
            x: data in the model's units, one sample a row.

        Raises:
            TypeError: if the model is of another kind, or `x` is not a tensor.
            ValueError: if `x` is empty, does not fit the model, or is outside its units.
        """
        self.check(model, x)
        self.gradient(model, x)

    def check(self, model: RBM | BoltzmannMachine, x: Real[Tensor, "n visible"]) -> None:
        """Raise the errors of a call without estimating anything."""
        require_model_and_data(model, x)

    @torch.no_grad()
    def gradient(self, model: RBM | BoltzmannMachine, x: Real[Tensor, "n visible"]) -> None:
        """Overwrite `.grad` as a call does, without checking the data."""
        x = x.to((model.b if isinstance(model, RBM) else model.h).dtype)
        if isinstance(model, RBM):
            mean_z = mean_z_data = mean_hidden(model, x)
            for _ in range(self.k):
                z = draw(mean_z, model.units, rng=self.rng)
                x_model = draw(mean_visible(model, z), model.units, rng=self.rng)
                mean_z = mean_hidden(model, x_model)
            rows, means = torch.cat([x_model, x]), torch.cat([mean_z, mean_z_data])
            write_rbm_gradient(model, rows, means, len(x), self.centered)
        else:
            kernel, x_model = HeatBath(model), x
            for _ in range(self.k):
                x_model = kernel.sweep(x_model, rng=self.rng)
            write_boltzmann_gradient(model, torch.cat([x_model, x]), len(x), self.centered)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of the generator: all that one call leaves to the next."""
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self.rng.set_state(state["rng"])

    def describe(self) -> str:
        """Name the settings; checkpoints of other settings are refused by it."""
        seed = self.rng.initial_seed()
        return f"ContrastiveDivergence(k={self.k}, centered={self.centered}), seed {seed}"


def require_model_and_data(model: object, x: Float[Tensor, "n visible"]) -> None:
    """Raise unless the model is one that can be swept, and the data fit it."""
    if not isinstance(model, RBM | BoltzmannMachine):
        raise TypeError(
            f"model must be an RBM or a BoltzmannMachine, but a {type(model).__name__} was given; "
            "for another model with few units use ExactLikelihood."
        )
    require_tensor(x, "x")
    n_units = model.n_visible if isinstance(model, RBM) else model.n_units
    require_shape(x, (None, n_units), "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it has no rows; add data.")
    require_unit_values(x, model.units, "x")


def require_generator(rng: object) -> torch.Generator:
    """Return `rng` if it is a generator; raise `TypeError` otherwise."""
    if not isinstance(rng, torch.Generator):
        raise TypeError(
            f"rng must be a torch.Generator, but a {type(rng).__name__} was given; "
            "make one with torch.Generator().manual_seed(...)."
        )
    return rng
