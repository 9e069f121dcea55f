"""Population annealing: chains cooled together, of which the likely ones are copied."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import require_count
from lecture_pkg.sampling._ladder import require_betas, require_chains
from lecture_pkg.sampling.kernel import Kernel


@dataclass(frozen=True, eq=False)
class PopulationAnnealing:
    """A population that went down in temperature, and what it measured at each of them.

    A family is what descends from one member of the population at β = 0. Families grow where the
    weights are uneven; how few are left says how far the members are from independent.

    Attributes:
        betas: the ladder so far.
        x: the population at the last β, with equal weights.
        family: for each member the number of its ancestor at β = 0.
        log_partition: log Z at each β; the exponential is unbiased for Z.
        standard_error: errors of those, √((ρ - 1)/R), from the families; see `mean_square_family`.
            They err on the large side, and more so the finer the steps and the better the sweeps
            mix: the families count every rounding of a resampling as noise, and never forget a
            common ancestor, though in log Z most of both cancels. The exact error needs independent
            runs, see `jarzynski`.
        energy: mean of ∂F_β/∂β after the sweeps at each β.
        energy_error: errors of those, from the spread between families.
        mean_square_family: ρ at each β, the mean over the R initial members of the squared size of
            their families. R/ρ is the number of families that count; ρ = 1 at the start.
        entropic_family: R exp(-S) at each β, where S is the entropy of the families' shares.
        samples: the population at every β, or None if it was not kept.
    """

    betas: Float[Tensor, " temperatures"]
    x: Float[Tensor, "population n"]
    family: Int64[Tensor, " population"]
    log_partition: Float[Tensor, " temperatures"]
    standard_error: Float[Tensor, " temperatures"]
    energy: Float[Tensor, " temperatures"]
    energy_error: Float[Tensor, " temperatures"]
    mean_square_family: Float[Tensor, " temperatures"]
    entropic_family: Float[Tensor, " temperatures"]
    samples: Float[Tensor, "temperatures population n"] | None

    @property
    def family_sizes(self) -> Int64[Tensor, " families"]:
        """How many members each family has that is left, in the order of their ancestors."""
        sizes = torch.bincount(self.family)
        return sizes[sizes > 0]


def population_annealing(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    population: int,
    *,
    sweeps_per_temperature: int = 1,
    initial: PopulationAnnealing | None = None,
    keep_samples: bool = False,
    rng: torch.Generator,
    progress: bool = False,
) -> PopulationAnnealing:
    """Reweight, resample and sweep a population from temperature to temperature.

    Equations (6.16)-(6.19), section 6.2. At each step from β to β' every member gets the weight
    exp(-W), W the work of the step at fixed x; the mean weight is the factor by which Z grows; the
    population is resampled in proportion to the weights; the kernel sweeps at β'.

    The population keeps its size, by systematic resampling: one uniform number decides for all, a
    member whose expected number of copies is τ gets ⌊τ⌋ or ⌈τ⌉ of them, τ on average. No whole
    number with the mean τ varies less.

    Args:
        kernel: moves the chains at fixed β, and measures the work of changing it.
        betas: the ladder, increasing from 0.
        population: how many members, two at least.
        sweeps_per_temperature: the sweeps at each β after the first.
        initial: a run to continue, whose last β is the first of the ladder.
        keep_samples: keeps the population at every β, not only at the last.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        The run, with the history of the continued one in front. Going on from a part of the ladder
        with the same generator gives the numbers of one run.

    Raises:
        TypeError: if betas is no floating-point tensor, or a count is not an integer.
        ValueError: if the ladder does not increase, or does not start where the population is; if
            initial has another size, or kept no samples though they are wanted.

    Reference: K. Hukushima and Y. Iba, Population annealing and its application to a spin glass
    (2003); J. Machta, Population annealing with weighted averages (2010); W. Wang, J. Machta and
    H. G. Katzgraber, Population annealing: theory and application in spin glasses (2015).
    """
    betas = require_betas(betas)
    require_count(population, "population", minimum=2)
    require_count(sweeps_per_temperature, "sweeps_per_temperature")
    if initial is not None and keep_samples and initial.samples is None:
        raise ValueError("initial kept no samples; run it with keep_samples=True as well.")
    x = require_chains(kernel, population, None if initial is None else initial.x, rng=rng)
    start = 0.0 if initial is None else float(initial.betas[-1])
    if betas[0] != start:
        raise ValueError(
            f"the ladder must start where the population is, at β = {start:.4g}, but it starts at "
            f"{float(betas[0]):.4g}; a fresh population is at 0."
        )
    if initial is None:
        family = torch.arange(population, device=x.device)
        log_partition = float(kernel.initial_log_partition())
        history = [_measure(kernel, x, family, 0.0, log_partition)]
    else:
        family, log_partition = initial.family, float(initial.log_partition[-1])
        history = []
    samples = [x]
    for beta, beta_next in tqdm(list(pairwise(betas.tolist())), disable=not progress):
        log_weights = -kernel.work(x, beta, beta_next).to(torch.float64)
        log_partition += float(log_weights.logsumexp(0)) - math.log(population)
        chosen = systematic_resample(log_weights.softmax(0), rng=rng)
        x, family = x[chosen], family[chosen]
        for _ in range(sweeps_per_temperature):
            x = kernel.sweep(x, beta_next, rng=rng)
        history.append(_measure(kernel, x, family, beta_next, log_partition))
        if keep_samples:
            samples.append(x)
    columns = torch.tensor(history, dtype=torch.float64, device=x.device).reshape(-1, 6).T
    kept = torch.stack(samples) if keep_samples else None
    if initial is not None:
        columns = torch.cat([_columns(initial), columns], 1)
        betas = torch.cat([initial.betas, betas[1:]])
        if kept is not None and initial.samples is not None:
            kept = torch.cat([initial.samples, kept[1:]])
    log_z, error, energy, energy_error, square, entropic = columns
    return PopulationAnnealing(
        betas, x, family, log_z, error, energy, energy_error, square, entropic, kept
    )


def systematic_resample(probabilities: Tensor, *, rng: torch.Generator) -> Tensor:
    """Return indices in ascending order, index i about n times its probability."""
    n = len(probabilities)
    u = torch.rand((), generator=rng, dtype=torch.float64, device=probabilities.device)
    marks = (torch.arange(n, device=probabilities.device) + u) / n
    chosen = torch.searchsorted(probabilities.cumsum(0), marks, right=True)
    return chosen.clamp(max=n - 1)  # the cumulative sum may end below one by rounding


def _measure(
    kernel: Kernel, x: Tensor, family: Tensor, beta: float, log_partition: float
) -> tuple[float, ...]:
    """Return what is recorded at one temperature, in the order of `_columns`."""
    n = len(x)
    share = torch.bincount(family, minlength=n).to(torch.float64) / n
    energy = kernel.energy(x, beta).to(torch.float64)
    spread = energy.new_zeros(n).index_add_(0, family, energy - energy.mean())
    square = float(n * share.square().sum())
    entropy = float(torch.special.entr(share).sum())
    return (
        log_partition,
        math.sqrt(max(square - 1, 0.0) / n),
        float(energy.mean()),
        float(spread.square().sum().sqrt()) / n,
        square,
        n * math.exp(-entropy),
    )


def _columns(run: PopulationAnnealing) -> Tensor:
    return torch.stack(
        [
            run.log_partition,
            run.standard_error,
            run.energy,
            run.energy_error,
            run.mean_square_family,
            run.entropic_family,
        ]
    )
