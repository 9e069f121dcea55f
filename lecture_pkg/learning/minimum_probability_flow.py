"""Minimum probability flow: as little probability as possible shall leave the data."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from lecture_pkg._checks import require_shape, require_tensor, require_unit_values
from lecture_pkg.learning.single_flips import change_of_flip, write_gradient


class MinimumProbabilityFlow:
    """Gradient of the rate at which probability leaves the data; for `lecture_pkg.learning.fit`.

    Equations (7.6), (7.7), (7.9), section 7.1: single flips with the detailed-balance rates
    w(x'|x) = exp((F(x) - F(x')) / 2), of a `BoltzmannMachine` or the visible units of an `RBM`.
    Reference: Sohl-Dickstein, Battaglino and DeWeese, Phys. Rev. Lett. 107 (2011) 220601.

    Args:
        data: the whole data set. With it, flips that lead to one of its states do not count, as
            the derivation from the Kullback-Leibler divergence asks. Without it all flips count,
            so that the objective keeps its minimum at the true parameters however densely the
            data cover the states. Either is convex in the parameters of a Boltzmann machine.

    Raises:
        TypeError: if `data` is not a tensor.
        ValueError: if `data` is not two-dimensional, or is empty.
    """

    def __init__(self, data: Real[Tensor, "samples dim"] | None = None):
        self.data = data
        if data is not None:
            require_tensor(data, "data")
            require_shape(data, (None, None), "data")
            if len(data) == 0:
                raise ValueError(
                    "data must hold at least one sample; give None to count all flips."
                )

    def __call__(self, model: torch.nn.Module, x: Real[Tensor, "n dim"]) -> Float[Tensor, ""]:
        """Write the gradient to `.grad` of the parameters and return the objective.

        Args:
            model: the model.
            x: data in the model's units, one sample a row: `data`, or a batch of it.

        Returns:
            The flow out of the data: probability per unit of time.

        Raises:
            TypeError: if `x` is not a tensor, or the model is of another kind.
            ValueError: if `x` is empty, does not fit the model or `data`, or is outside its units.
            FloatingPointError: if the flow is beyond the floating-point numbers.
        """
        counts = None
        if self.data is not None:
            require_tensor(x, "x")
            require_shape(x, (None, self.data.shape[1]), "x")
            require_unit_values(self.data, model.units, "data")  # type: ignore[arg-type]
            counts = ~flips_inside(x, self.data, model.units)  # type: ignore[arg-type]
        objective = write_gradient(model, x, _rate_and_slope, counts)
        if not bool(torch.isfinite(objective)):
            raise FloatingPointError(
                "the flow out of the data is beyond the floating-point numbers, because flips "
                "lower the energy by hundreds; start from smaller parameters, or use "
                "PseudoLikelihood(), whose objective grows no faster than the energy."
            )
        return objective


def _rate_and_slope(D: Tensor) -> tuple[Tensor, Tensor]:
    rate = D.mul_(0.5).exp_()
    return rate, rate / 2


def flips_inside(
    x: Real[Tensor, "n dim"], data: Real[Tensor, "samples dim"], units: str
) -> Bool[Tensor, "n dim"]:
    """Tell for every sample and unit whether flipping the unit leads to a state of the data.

    States are found by their sums of random 64-bit numbers, one for each unit, which a flip
    changes by one of them; what is found is then compared unit by unit, so that no coincidence
    of sums counts.
    """
    data = data.long()  # with repetitions: sorting sums costs less than removing them
    rng = torch.Generator().manual_seed(0)
    n_units = data.shape[1]
    numbers = torch.randint(-(2**62), 2**62, (n_units,), generator=rng).to(x.device)
    x = x.long()
    flip = change_of_flip(x, units)
    sums, order = (data * numbers).sum(1).sort()  # (samples,)
    wanted = (x * numbers).sum(1, keepdim=True) + flip * numbers  # (n, dim)
    place = torch.searchsorted(sums, wanted).clamp_max(len(sums) - 1)
    inside = sums[place] == wanted
    sample, unit = inside.nonzero(as_tuple=True)
    flipped = x[sample].clone()
    flipped[torch.arange(len(sample)), unit] += flip[sample, unit]
    inside[sample, unit] = (data[order[place[sample, unit]]] == flipped).all(1)
    return inside
