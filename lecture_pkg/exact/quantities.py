"""The exact quantities of a model: log Z, probabilities, moments, the likelihood of data."""

import math
from typing import NamedTuple, overload

from jaxtyping import Float, Real
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_shape,
    require_tensor,
    require_unit_values,
    require_units,
)
from lecture_pkg._states import enumerate_states
from lecture_pkg.exact import _smaller_layer, _state_by_state, _three_way_split
from lecture_pkg.exact._limits import refuse_unless_it_fits
from lecture_pkg.exact.energy_model import (
    EnergyModel,
    Quadratic,
    VisibleUnits,
    admit,
    negative_energy,
    reference,
)
from lecture_pkg.models.rbm import RBM


class Moments(NamedTuple):
    """The averages ⟨x_k⟩ and ⟨x_k x_l⟩ under the model."""

    mean: Float[Tensor, " n"]
    correlation: Float[Tensor, "n n"]


class RBMMoments(NamedTuple):
    """The averages ⟨x_k⟩, ⟨z_l⟩ and ⟨x_k z_l⟩ under the model."""

    visible: Float[Tensor, " visible"]
    hidden: Float[Tensor, " hidden"]
    correlation: Float[Tensor, "visible hidden"]


def states(n: int, units: str) -> Float[Tensor, "states n"]:
    """List all 2^n states: row i is i in binary digits, unit 0 the most significant.

    Args:
        n: number of units.
        units: "binary" for the digits 0 and 1, "spin" for -1 in the place of 0.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n is below one, or the list does not fit in memory.
    """
    require_units(units)
    require_count(n, "n")
    refuse_unless_it_fits(n, n + math.log2(4 * 8 * n))
    return enumerate_states(0, 2**n, n, units)


def log_partition(model: EnergyModel | RBM, *, time_limit: float = 600.0) -> Float[Tensor, ""]:
    """Compute log Z, differentiably in the model's parameters.

    Equations (2.2), (2.26), (4.3), sections 2, 2.5 and 4. Energies of pairs go through the
    three-way split and RBMs through their smaller layer, in float64 whatever the model's dtype;
    other energies are evaluated state by state.

    Args:
        model: see `EnergyModel`; or an RBM.
        time_limit: seconds; a request that is estimated to take longer is refused.

    Returns:
        log Z in nats, in the model's dtype.

    Raises:
        TypeError: if the model is no RBM and lacks `energy`, `units` or `n_units`.
        ValueError: if the time or the memory that the request would take is out of reach, found
            before it is spent; if a parameter is not finite; if time_limit is not positive.
    """
    admitted = admit(model, time_limit)
    return _log_partition(admitted, time_limit).to(reference(model).dtype)


def probabilities(
    model: EnergyModel | RBM, *, time_limit: float = 600.0
) -> Float[Tensor, " states"]:
    """Compute q(x) of every state, in the order of `states`; differentiable.

    Equations (2.1), (4.5), sections 2 and 4: the states of an RBM are those of its visible units.
    Arguments and errors are those of `log_partition`.
    """
    admitted = admit(model, time_limit)
    return _state_by_state.probabilities(admitted, time_limit).to(reference(model).dtype)


@overload
def moments(model: RBM, *, time_limit: float = 600.0) -> RBMMoments: ...
@overload
def moments(model: EnergyModel, *, time_limit: float = 600.0) -> Moments: ...
def moments(model: EnergyModel | RBM, *, time_limit: float = 600.0) -> Moments | RBMMoments:
    """Compute ⟨x_k⟩ and ⟨x_k x_l⟩, or ⟨x_k⟩, ⟨z_l⟩ and ⟨x_k z_l⟩ of an RBM, without gradients.

    Equations (2.28), (2.29), section 2.5: for energies of pairs they are the derivatives of
    log Z in h_k and J_kl; for other energies they are summed over the states. Arguments and
    errors are those of `log_partition`.
    """
    admitted = admit(model, time_limit)
    dtype = reference(model).dtype
    if isinstance(admitted, VisibleUnits):
        return RBMMoments(*(t.to(dtype) for t in _smaller_layer.moments(admitted, time_limit)))
    if isinstance(admitted, Quadratic):
        mean, correlation = _three_way_split.moments(admitted, time_limit)
    else:
        mean, correlation = _state_by_state.moments(admitted, time_limit)
    return Moments(mean.to(dtype), correlation.to(dtype))


def log_likelihood(
    model: EnergyModel | RBM, x: Real[Tensor, "batch n"], *, time_limit: float = 600.0
) -> Float[Tensor, ""]:
    """Compute the mean of log q(x) over samples, differentiably in the model's parameters.

    Equations (2.1), (4.5), sections 2 and 4. It is the part of -D_KL(p0‖q) that learning changes.

    Args:
        model: see `EnergyModel`; or an RBM, whose hidden units are summed out.
        x: samples in the model's units, the visible ones of an RBM.
        time_limit: as for `log_partition`.

    Returns:
        Nats per sample.

    Raises:
        ValueError: if x is empty or breaks the unit convention; as for `log_partition`.
    """
    admitted = admit(model, time_limit)
    require_tensor(x, "x")
    require_shape(x, (None, admitted.n_units), "x")
    require_unit_values(x, admitted.units, "x")
    if len(x) == 0:
        raise ValueError("x must hold at least one sample, but it is empty.")
    log_q = negative_energy(admitted, x).mean() - _log_partition(admitted, time_limit)
    return log_q.to(reference(model).dtype)


def _log_partition(admitted: EnergyModel, time_limit: float) -> Tensor:
    if isinstance(admitted, VisibleUnits):
        return _smaller_layer.log_partition(admitted, time_limit)
    if isinstance(admitted, Quadratic):
        return _three_way_split.log_partition(admitted, time_limit)
    return _state_by_state.log_partition(admitted, time_limit)
