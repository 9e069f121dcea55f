"""The gradient as a difference of averages, each over samples of its own.

For a model of the exponential family ∂D_KL/∂θ is the average of the statistics over the model
minus their average over the data (section 2.5, section 4). Here both averages are over rows. The
rows of the model and those of the data stand in one matrix, so that one matrix product takes the
difference of the two averages: each row carries the weight 1/m (model) or -1/n (data), its own
count and its own sign.

Nothing is checked here: these are the inner steps of training, which sees to that once.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._affine import affine
from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.rbm import RBM


def mean_hidden(model: RBM, x: Float[Tensor, "rows visible"]) -> Float[Tensor, "rows hidden"]:
    """Compute E[z | x]. Equation (4.7), section 4."""
    return mean_of_unit_(affine(x, model.W.T, model.c), model.units)


def mean_visible(model: RBM, z: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows visible"]:
    """Compute E[x | z]. Equation (4.6), section 4."""
    return mean_of_unit_(affine(z, model.W, model.b), model.units)


def mean_of_unit_(field: Float[Tensor, "rows n"], units: str) -> Float[Tensor, "rows n"]:
    """Turn fields into means in place; see `lecture_pkg.models.rbm.mean_of_unit`."""
    return field.tanh_() if units == "spin" else field.sigmoid_()


def draw(
    mean: Float[Tensor, "rows n"], units: str, *, rng: torch.Generator
) -> Float[Tensor, "rows n"]:
    """Draw independent units that have these means, from one uniform number each."""
    noise = torch.rand(mean.shape, generator=rng, dtype=mean.dtype, device=mean.device)
    if units == "spin":
        return noise.mul_(2).sub_(1).lt_(mean).mul_(2).sub_(1)
    return noise.lt_(mean)


def write_rbm_gradient(
    model: RBM,
    x: Float[Tensor, "rows visible"],
    mean_z: Float[Tensor, "rows hidden"],
    n_model: int,
    centered: bool,
) -> None:
    """Write model average minus data average of xzᵀ, x and z to `.grad` of W, b and c.

    Args:
        model: the gradient is in its parameters.
        x: visible units, first `n_model` rows of the model, then those of the data.
        mean_z: E[z | x] of the same rows; overwritten.
        n_model: how many rows are the model's.
        centered: transform the gradient as `centered_gradient` says, with the means of the data.
    """
    weights = _weights(len(x), n_model, x.dtype, x.device)
    z = mean_z.mul_(weights[:, None])
    gradient_w, gradient_b, gradient_c = affine(x.T, z.T, None), weights @ x, z.sum(0)
    if centered:
        mean_x, mean_hidden = x[n_model:].mean(0), -z[n_model:].sum(0)
        gradient_w.addr_(mean_x, gradient_c, alpha=-1).addr_(gradient_b, mean_hidden, alpha=-1)
        gradient_b -= gradient_w @ mean_hidden
        gradient_c -= mean_x @ gradient_w
    _write(model.W, gradient_w)
    _write(model.b, gradient_b)
    _write(model.c, gradient_c)


def write_boltzmann_gradient(
    model: BoltzmannMachine, x: Float[Tensor, "rows n"], n_model: int, centered: bool
) -> None:
    """Write model average minus data average of x_k x_l and x_k to `.grad` of couplings and h.

    Equations (2.28), (2.29), section 2.5, with samples of the model; arguments as above.
    """
    weights = _weights(len(x), n_model, x.dtype, x.device)
    gradient_j, gradient_h = affine(x.T, (weights[:, None] * x).T, None), weights @ x
    if centered:
        mean = x[n_model:].mean(0)
        gradient_j.addr_(mean, gradient_h, alpha=-1).addr_(gradient_h, mean, alpha=-1)
        gradient_h -= gradient_j.fill_diagonal_(0) @ mean
    k, l = torch.triu_indices(x.shape[1], x.shape[1], offset=1, device=x.device)  # noqa: E741
    _write(model.couplings, gradient_j[k, l])
    _write(model.h, gradient_h)


@lru_cache(maxsize=16)  # the same at every step; nobody writes to it
def _weights(n_rows: int, n_model: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    weights = torch.full((n_rows,), 1 / n_model, dtype=dtype, device=device)
    weights[n_model:] = -1 / (n_rows - n_model)
    return weights


def _write(parameter: torch.nn.Parameter, gradient: Tensor) -> None:
    if parameter.requires_grad:
        parameter.grad = gradient
