"""What can be enumerated, and in which of the three ways."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lecture_pkg._checks import require_energy_model, require_finite, require_positive
from lecture_pkg.models.rbm import RBM, log_sum_over_unit


@runtime_checkable
class EnergyModel(Protocol):
    """What can be enumerated: an energy of `n_units` units that take two values.

    A model that also has attributes `J` and `h` is taken to have a `BoltzmannMachine`'s energy, if
    its own energy agrees with that on a few states. An `RBM` is no `EnergyModel`, because its
    energy needs both layers; it is recognised as what it is.
    """

    units: str

    @property
    def n_units(self) -> int:
        """How many units the model has."""

    def energy(self, x: Tensor) -> Tensor:
        """Return E(x) of shape (...) for x of shape (..., n_units)."""


@dataclass
class Quadratic:
    """A Boltzmann machine's energy in float64, part of its model's graph."""

    J: Tensor
    h: Tensor
    units: str

    @property
    def n_units(self) -> int:
        """How many units the model has."""
        return len(self.h)

    def energy(self, x: Tensor) -> Tensor:
        """Return E(x)."""
        return -negative_quadratic(x, self.J, self.h)


@dataclass
class VisibleUnits:
    """An RBM's visible units, the hidden ones summed out, in float64 and part of its graph."""

    W: Tensor
    b: Tensor
    c: Tensor
    units: str

    @property
    def n_units(self) -> int:
        """How many visible units there are."""
        return len(self.b)

    def energy(self, x: Tensor) -> Tensor:
        """Return the free energy of x."""
        return -(x @ self.b + log_sum_over_unit(x @ self.W + self.c, self.units).sum(-1))


def admit(model: EnergyModel | RBM, time_limit: float) -> EnergyModel:
    """Refuse what cannot be enumerated; recognise an RBM, and an energy of pairs."""
    require_positive(time_limit, "time_limit")
    if isinstance(model, RBM):
        for name, parameter in model.named_parameters():
            require_finite(parameter, name)
        W, b, c = (parameter.to(torch.float64) for parameter in (model.W, model.b, model.c))
        return VisibleUnits(W, b, c, model.units)
    require_energy_model(model)
    J, h = getattr(model, "J", None), getattr(model, "h", None)
    if not isinstance(J, Tensor) or not isinstance(h, Tensor):
        return model
    n = model.n_units
    if J.shape != (n, n) or h.shape != (n,):
        return model
    require_finite(J, "J")
    require_finite(h, "h")
    J, h = J.to(torch.float64), h.to(torch.float64)
    quadratic = Quadratic((J + J.T) / 2, h, model.units)  # the split reads one triangle only
    return quadratic if _agree(model, quadratic) else model


def reference(model: Any) -> Tensor:
    """Return a tensor of the model's dtype and device."""
    for name in ("h", "b"):
        if isinstance(getattr(model, name, None), Tensor):
            return getattr(model, name)
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next(iter(parameters), torch.empty(0, dtype=torch.float64))


def negative_energy(model: EnergyModel, x: Tensor) -> Tensor:
    """Return -E(x) in float64."""
    return -model.energy(x.to(reference(model).dtype)).to(torch.float64)


def negative_quadratic(x: Tensor, J: Tensor, h: Tensor) -> Tensor:
    """Return Σ_{k<l} J_kl x_k x_l + Σ_k h_k x_k, for symmetric J."""
    return x @ h + ((x @ J) * x).sum(-1) / 2


@torch.no_grad()
def _agree(model: EnergyModel, quadratic: Quadratic) -> bool:
    """Compare the energies of a few states: J and h may be only a part of the model's energy."""
    i = torch.arange(model.n_units)
    last = len(i) - 1
    rows = (i < 0, i >= 0, i % 2 == 0, i % 4 < 2, i % 3 == 0, i == 0, i == last // 2, i != last)
    digits = torch.stack(rows)
    x = (2 * digits - 1 if model.units == "spin" else digits.long()).to(quadratic.h)
    expected, given = (negative_energy(m, x) for m in (quadratic, model))
    tolerance = max(1e-6, torch.finfo(reference(model).dtype).eps ** 0.5)
    return bool((given - expected).abs().max() <= tolerance * expected.abs().max())
