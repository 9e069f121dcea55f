"""The log-likelihood of data under a model: exact where it can be, else between two estimates."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Real
from torch import Tensor

from lecture_pkg import exact
from lecture_pkg._checks import (
    require_count,
    require_energy_model,
    require_shape,
    require_tensor,
    require_unit_values,
    require_units,
)
from lecture_pkg.models import RBM, BoltzmannMachine, IsingLattice
from lecture_pkg.sampling import (
    BlockGibbs,
    HeatBath,
    Kernel,
    annealed_importance_sampling,
    bennett_acceptance_ratio,
    jarzynski,
    reverse_annealed_importance_sampling,
)

_EXACT_UNITS = 25  # seconds, even with a thousand units in the other layer


@dataclass(frozen=True)
class Score:
    """The mean log-likelihood of a data set, per configuration, in nats.

    Attributes:
        value: the best estimate.
        kind: "exact", or "AIS" where log Z was estimated by annealed importance sampling.
        lower: of kind "AIS", from the reverse run, which errs downwards on average if its start
            was exact: two of its standard errors below its estimate.
        upper: of kind "AIS", from the forward run, which errs upwards on average: two of its
            standard errors above its estimate.
        standard_error: of `value` as an estimate for these data; that the data are a sample is not
            counted.
        method: how the number was found, in words.
    """

    value: float
    kind: str
    lower: float
    upper: float
    standard_error: float
    method: str

    def __str__(self) -> str:
        """Say the value together with what it is worth."""
        if self.kind == "exact":
            return f"{self.value:.2f} nats (exact)"
        return (
            f"{self.value:.2f} ± {self.standard_error:.2f} nats "
            f"({self.kind}, between {self.lower:.2f} and {self.upper:.2f})"
        )


def score(
    model: exact.EnergyModel | RBM,
    x: Real[Tensor, "n units"],
    *,
    training_data: Real[Tensor, "m units"] | None = None,
    samples: Float[Tensor, "chains units"] | None = None,
    n_temperatures: int = 2000,
    n_chains: int = 200,
    rng: torch.Generator | None = None,
    progress: bool = False,
) -> Score:
    """Compute the mean of ln q(x) over the data, with log Z exact or between two estimates.

    Section 6.1. Exact where 25 units or fewer must be enumerated: of an `RBM` those of the smaller
    layer. Otherwise log Z comes from annealed importance sampling: of the forward run the mean of
    ln Ẑ is too small, hence the likelihood too large; of the reverse run the other way round; and
    Bennett's ratio of both is the value.

    The side of the reverse run holds strictly only if it starts from exact samples of the model.
    Without `samples` it starts from the forward run, resampled by its weights and swept 100 times:
    if the forward run misses a peak of the model, both runs do, and too large a likelihood looks
    certain.

    Args:
        model: an `RBM`, a `BoltzmannMachine` or an `IsingLattice` of some hundreds of spins; any
            `EnergyModel` that is small enough.
        x: the data, in the model's units.
        training_data: their log-odds, unit by unit, are the field in which the chains start; the
            path is shorter than from the uniform distribution.
        samples: draws from the model to start the reverse run, from a method that is trusted.
        n_temperatures: evenly spaced between 0 and 1.
        n_chains: of each run.
        rng: the source of all randomness; needed where the number is not exact.
        progress: shows bars.

    Raises:
        TypeError: if the model can neither be enumerated nor annealed, or rng is missing.
        ValueError: if the data do not fit the model.
    """
    if isinstance(model, RBM):
        n_units, n_enumerated = model.n_visible, min(model.n_visible, model.n_hidden)
    else:
        require_energy_model(model)
        n_units = n_enumerated = model.n_units
    require_tensor(x, "x")
    require_shape(x, (None, n_units), "x")
    require_unit_values(x, model.units, "x")
    if n_enumerated <= _EXACT_UNITS:
        value = float(exact.log_likelihood(model, x).detach())
        return Score(value, "exact", value, value, 0.0, "enumeration")
    kernel = _kernel(model, training_data)
    if rng is None:
        raise TypeError("rng must be given: the model is too large for an exact log Z.")
    require_count(n_temperatures, "n_temperatures", minimum=2)
    betas = torch.linspace(0, 1, n_temperatures, dtype=torch.float64)
    forward = annealed_importance_sampling(kernel, betas, n_chains, rng=rng, progress=progress)
    if samples is None:
        weights = (-forward.work).softmax(0)
        samples = forward.x[torch.multinomial(weights, n_chains, replacement=True, generator=rng)]
        for _ in range(100):
            samples = kernel.sweep(samples, rng=rng)
    reverse = reverse_annealed_importance_sampling(
        kernel, betas, samples, rng=rng, progress=progress
    )
    both = bennett_acceptance_ratio(forward.work, reverse.work)
    unnormalised = float(_log_weight(model, x)) - float(kernel.initial_log_partition())
    up, down = jarzynski(forward.work), jarzynski(reverse.work)
    return Score(
        value=unnormalised + float(both.value),
        kind="AIS",
        lower=unnormalised - float(down.value) - 2 * float(down.standard_error),
        upper=unnormalised + float(up.value) + 2 * float(up.standard_error),
        standard_error=float(both.standard_error),
        method=(
            f"annealed importance sampling, {n_temperatures} temperatures, {n_chains} chains each "
            "way, joined by Bennett's acceptance ratio"
        ),
    )


def log_odds_field(x: Real[Tensor, "n units"], units: str) -> Float[Tensor, " units"]:
    """Compute the field in which independent units have the means of the data, never infinite.

    Each unit is counted once more with either value, so that a constant pixel keeps a finite
    field. For binary units the field is the log-odds, for spins half of it.

    Args:
        x: data in these units.
        units: "spin" or "binary".

    Returns:
        The field, in float64.

    Raises:
        TypeError: if x is no tensor.
        ValueError: if x holds values outside the convention.
    """
    require_tensor(x, "x")
    require_unit_values(x, require_units(units), "x")
    upper = (x == 1).sum(0).to(torch.float64) + 1
    log_odds = (upper / (len(x) + 2 - upper)).log()
    return log_odds if units == "binary" else log_odds / 2


def _kernel(model: exact.EnergyModel | RBM, training_data: Tensor | None) -> Kernel:
    """Choose a kernel that keeps detailed balance, as Bennett's ratio needs."""
    if not isinstance(model, RBM | BoltzmannMachine | IsingLattice):
        raise TypeError(
            f"model must be an RBM, a BoltzmannMachine or an IsingLattice beyond {_EXACT_UNITS} "
            f"units, but a {type(model).__name__} was given; no kernel is known for it."
        )
    field = model.b if isinstance(model, RBM) else model.h
    reference = None
    if training_data is not None:
        reference = log_odds_field(training_data, model.units).to(field)
    if isinstance(model, RBM):
        return BlockGibbs(model, reference=reference)
    return HeatBath(model, scan="random", reference=reference)


@torch.no_grad()
def _log_weight(model: exact.EnergyModel | RBM, x: Tensor) -> Tensor:
    """Compute the mean of ln q(x) + ln Z."""
    energy = model.free_energy(x) if isinstance(model, RBM) else model.energy(x)
    return -energy.to(torch.float64).mean()
