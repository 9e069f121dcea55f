"""The EM algorithm for mixtures of Gaussians: plain steps to read, and a fast form to run.

`fit_em` gathers the sums of the M-step in blocks (`sufficient_statistics`), and takes the plain
steps below where those sums would lose digits or time. Both ways give the same numbers.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lecture_pkg._checks import (
    require_count,
    require_finite,
    require_floating,
    require_probabilities,
    require_shape,
)
from lecture_pkg.learning.sufficient_statistics import (
    CANCELLATION_LIMIT,
    LARGEST_DIM,
    cancellation,
    expected_moments,
    model_from_moments,
)
from lecture_pkg.models.gaussian import is_degenerate, smallest_eigenvalue
from lecture_pkg.models.mixture import GaussianMixture


@dataclass(frozen=True, eq=False)
class EMFit:
    """What `fit_em` found.

    Attributes:
        model: the mixture after the last iteration.
        log_likelihood: mean log-likelihood per sample in nats, float64, of the initial model and
            after every iteration, shape (iterations + 1,).
        converged: whether the last iteration changed it by less than the tolerance.
    """

    model: GaussianMixture
    log_likelihood: Float[Tensor, " steps"]
    converged: bool


def fit_em(
    x: Float[Tensor, "n dim"],
    n_components: int,
    *,
    rng: torch.Generator,
    n_steps: int = 200,
    tolerance: float = 1e-9,
    ridge: float = 0.0,
    initial: GaussianMixture | None = None,
) -> EMFit:
    """Fit a mixture of Gaussians by expectation maximisation, uphill in the likelihood.

    Equations (3.3), (3.20), sections 3.1 and 3.2. With `ridge` = 0 the likelihood never falls.

    With `ridge` = ρ > 0 every covariance is Σ_k + ρ I, which is the M-step of
    Q(θ, θ₀) - ½ ρ Σ_k (n_k / n) tr Σ_k⁻¹, with n_k the responsibilities summed over the samples:
    the expected Q if each sample had noise of variance ρ. Each M-step raises this penalised Q.
    The likelihood itself then has no such guarantee, since the E-step does not see the penalty.

    Args:
        x: samples as rows, shape (n, dim). Work is done in float64; the model has the dtype of x.
        n_components: number of Gaussians.
        rng: generator that draws the initial centres; not used if `initial` is given.
        n_steps: largest number of iterations.
        tolerance: stop when an iteration changes the log-likelihood by less (nats per sample).
        ridge: variance added to the diagonal of each covariance, in the squared units of x.
        initial: mixture to start from; by default see `seed_mixture`.

    Raises:
        TypeError: if `x` is not a floating-point tensor, or a count is not an integer.
        ValueError: if `x` holds NaN or infinity, if there are more components than samples, if
            `initial` does not match, or if a component degenerates (it is named; see `m_step`).
    """
    _require_samples(x)
    n, dim = x.shape
    require_count(n_steps, "n_steps", minimum=0)
    if require_count(n_components, "n_components") > n:
        raise ValueError(
            f"n_components must be at most the number of samples, {n}, but it is "
            f"{n_components}; use fewer components or more samples."
        )
    _require_not_negative(tolerance=tolerance, ridge=ridge)
    precise = x.detach().to(torch.float64)
    centre = precise.mean(0)
    centred = precise - centre
    if initial is None:
        model = seed_mixture(centred, n_components, rng=rng, ridge=ridge)
    elif (initial.n_components, initial.dim) != (n_components, dim):
        raise ValueError(
            f"initial must have {n_components} components in {dim} dimensions, but it has "
            f"{initial.n_components} in {initial.dim}."
        )
    else:
        start = (initial.weights, initial.means, initial.covs)
        weights, means, covs = (parameter.detach().to(torch.float64) for parameter in start)
        model = GaussianMixture(weights / weights.sum(), means - centre, covs)

    columns = centred.mT.contiguous()  # (dim, n): a feature of a block is then contiguous
    trace: list[float] = []
    while True:
        fast = dim <= LARGEST_DIM and cancellation(model) < CANCELLATION_LIMIT
        if fast:
            moments, log_likelihood = expected_moments(model, columns)
        else:
            log_likelihood = float(model.log_prob(centred).mean())
        trace.append(log_likelihood)
        converged = len(trace) > 1 and abs(trace[-1] - trace[-2]) < tolerance
        if converged or len(trace) > n_steps:
            break
        proposal = model_from_moments(moments, dim, ridge) if fast else None
        model = proposal or m_step(centred, e_step(model, centred), ridge=ridge)

    parameters = (model.weights, model.means + centre, model.covs)
    fitted = GaussianMixture(*(parameter.to(x.dtype) for parameter in parameters))
    return EMFit(fitted, torch.tensor(trace, dtype=torch.float64), converged)


def e_step(model: GaussianMixture, x: Float[Tensor, "n dim"]) -> Float[Tensor, "n k"]:
    """Responsibilities of the components for each sample, with the parameters held fixed.

    Equation (3.22), section 3.2; step C of the algorithm in section 3.1.
    """
    return model.responsibilities(x)


def m_step(
    x: Float[Tensor, "n dim"], responsibilities: Float[Tensor, "n k"], *, ridge: float = 0.0
) -> GaussianMixture:
    """Parameters that maximise Q with the responsibilities held fixed: weighted averages.

    Equations (3.4), (3.6), (3.10), section 3.1; (3.24), (3.25), (3.30) in section 3.2 are the
    same. Covariances are formed from deviations, which is safe at any distance from the origin.

    Args:
        x: samples as rows, shape (n, dim).
        responsibilities: probabilities of the labels as rows, shape (n, k).
        ridge: variance added to the diagonal of each covariance.

    Raises:
        ValueError: if the rows of `responsibilities` are no probabilities, if a component holds
            no sample, or if its covariance is singular: it has collapsed and the likelihood
            would grow without bound.
    """
    _require_responsibilities(x, responsibilities)
    _require_not_negative(ridge=ridge)
    mass = responsibilities.sum(0)  # (k,)
    size = x.abs().amax(0)
    means, covs = [], []
    for k, gamma in enumerate(responsibilities.unbind(1)):
        if float(mass[k]) < torch.finfo(x.dtype).eps:
            raise ValueError(
                f"component {k} holds no sample: its responsibilities sum to {float(mass[k]):.3g}; "
                "use fewer components or another start."
            )
        share = gamma / mass[k]
        mean = share @ x
        deviation = x - mean
        cov = (deviation * share[:, None]).mT @ deviation
        cov = 0.5 * (cov + cov.mT) + ridge * torch.eye(x.shape[1]).to(x)
        if is_degenerate(cov, size):
            raise ValueError(
                f"component {k} has collapsed: the {float(mass[k]):.3g} samples it holds have a "
                "singular covariance (smallest eigenvalue "
                f"{smallest_eigenvalue(cov)}), and the likelihood would grow "
                "without bound; use ridge > 0 or fewer components."
            )
        means.append(mean)
        covs.append(cov)
    return GaussianMixture(mass / mass.sum(), torch.stack(means), torch.stack(covs))


def q_function(
    model: GaussianMixture, x: Float[Tensor, "n dim"], responsibilities: Float[Tensor, "n k"]
) -> Float[Tensor, ""]:
    """Q(θ, θ₀): mean over the samples of the expected ln q_θ(x, z), labels weighted with γ.

    Equations (3.21), (3.23), section 3.2, with the logarithm of the determinant and with the
    constant -½ dim ln 2π, both of which the bound of Equation (3.16) needs. In nats per sample.

    Args:
        model: the mixture q_θ.
        x: samples as rows, shape (n, dim).
        responsibilities: γ under the old parameters θ₀, shape (n, k).

    Raises:
        ValueError: if the rows of `responsibilities` are no probabilities, or there is not one
            column a component.
    """
    _require_responsibilities(x, responsibilities, model.n_components)
    terms = responsibilities * model.log_joint(x)
    return torch.where(responsibilities > 0, terms, 0.0).sum(-1).mean()  # 0 ln 0 = 0


def evidence_lower_bound(
    model: GaussianMixture, x: Float[Tensor, "n dim"], r: Float[Tensor, "n k"]
) -> Float[Tensor, ""]:
    """Lower bound of the mean log-likelihood from any distributions r(z): Q plus entropy of r.

    Equations (3.16), (3.17), section 3.2. The gap is the mean of D_KL(r ‖ q(z | x)); it closes
    for r = `e_step(model, x)`, Equation (3.18). In nats per sample.
    """
    return q_function(model, x, r) + torch.special.entr(r).sum(-1).mean()


def seed_mixture(
    x: Float[Tensor, "n dim"], n_components: int, *, rng: torch.Generator, ridge: float = 0.0
) -> GaussianMixture:
    """Start for EM: spread-out samples as centres, one common covariance, equal weights.

    The first centre is any sample; each further one is drawn with probability proportional to
    its squared distance from the nearest centre so far (k-means++: Arthur and Vassilvitskii,
    SODA 2007), with columns scaled to variance one. The covariance is that of the deviations from
    the nearest centre.

    Raises:
        ValueError: if `x` has fewer distinct rows than components, or if that covariance is
            singular.
    """
    _require_samples(x)
    require_count(n_components, "n_components")
    _require_not_negative(ridge=ridge)
    spread = x.std(0, correction=0)
    scaled = x / torch.where(spread > 0, spread, 1.0)
    seeds = [int(torch.randint(len(x), (1,), generator=rng, device=rng.device))]
    distances = (scaled - scaled[seeds[0]]).square().sum(1, keepdim=True)  # (n, seeds)
    for k in range(1, n_components):
        gap = distances.amin(1)
        if not bool((gap > 0).any()):
            raise ValueError(f"x has only {k} distinct rows; use at most {k} components.")
        seeds.append(int(torch.multinomial(gap.to(rng.device), 1, generator=rng)))
        to_seed = (scaled - scaled[seeds[-1]]).square().sum(1, keepdim=True)
        distances = torch.cat([distances, to_seed], 1)
    deviation = x - x[seeds][distances.argmin(1)]
    cov = deviation.mT @ deviation / len(x) + ridge * torch.eye(x.shape[1]).to(x)
    if is_degenerate(cov, x.abs().amax(0)):
        raise ValueError(
            f"{len(x)} samples in {x.shape[1]} dimensions leave no room for {n_components} "
            "components: deviations from the initial centres have a singular covariance; use "
            "ridge > 0 or fewer components, or drop constant or linearly dependent columns."
        )
    weights = x.new_full((n_components,), 1 / n_components)
    return GaussianMixture(weights, x[seeds], cov.expand(n_components, -1, -1))


def _require_samples(x: Tensor) -> None:
    require_floating(x, "x")
    require_shape(x, (None, None), "x")
    require_finite(x, "x")
    if x.numel() == 0:
        raise ValueError(f"x must hold at least one sample, but its shape is {tuple(x.shape)}.")


def _require_responsibilities(
    x: Tensor, responsibilities: Tensor, n_components: int | None = None
) -> None:
    _require_samples(x)
    require_floating(responsibilities, "responsibilities")
    require_shape(responsibilities, (len(x), n_components), "responsibilities")
    require_probabilities(responsibilities, "responsibilities")


def _require_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be a finite number, zero or more, but it is {value}.")
