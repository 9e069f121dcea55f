"""Annealed importance sampling: chains driven along a ladder, and the work that it takes."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import require_count, require_floating
from lecture_pkg.sampling._ladder import require_betas, require_chains
from lecture_pkg.sampling.block_gibbs import BlockGibbs
from lecture_pkg.sampling.free_energy import importance_sample_size, jarzynski
from lecture_pkg.sampling.kernel import Kernel


@dataclass(frozen=True, eq=False)
class AnnealedImportanceSampling:
    """Chains driven along a ladder, and the work that it took.

    Attributes:
        kind: "forward" from q_0 to the cold end, "reverse" from there down to q_0.
        betas: the inverse temperatures passed so far, in the order of the drive.
        work: of each chain, in float64.
        x: the chains at the end. With the weights exp(-work) they stand for samples of the last
            distribution; without weights they lag behind it.
        initial_log_partition: ln Z_0 of the kernel.
    """

    kind: str
    betas: Float[Tensor, " temperatures"]
    work: Float[Tensor, " chains"]
    x: Float[Tensor, "chains n"]
    initial_log_partition: Float[Tensor, ""]

    @property
    def log_partition(self) -> Float[Tensor, ""]:
        """Log Z at the cold end: on average too small if forward, too large if reverse.

        Raises:
            ValueError: if a reverse drive has not reached β = 0, where Z is known.
        """
        difference = jarzynski(self.work).value
        if self.kind == "forward":
            return self.initial_log_partition - difference
        if self.betas[-1] != 0:
            raise ValueError(
                f"a reverse drive knows log Z at β = 0 only, but it stands at {self.betas[-1]:.4g};"
                " continue it down to 0 first."
            )
        return self.initial_log_partition + difference

    @property
    def standard_error(self) -> Float[Tensor, ""]:
        """Standard error of `log_partition`, see `jarzynski`."""
        return jarzynski(self.work).standard_error

    @property
    def importance_sample_size(self) -> Float[Tensor, ""]:
        """How many chains of equal weight the chains are worth, see `importance_sample_size`."""
        return importance_sample_size(self.work)


def annealed_importance_sampling(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    n_chains: int,
    *,
    sweeps_per_temperature: int = 1,
    initial: AnnealedImportanceSampling | None = None,
    rng: torch.Generator,
    progress: bool = False,
) -> AnnealedImportanceSampling:
    """Drive exact samples of q_0 up the ladder and record the work, which gives log Z.

    Equations (6.8), (6.10), (6.15), section 6.1. At each step the parameter moves first and
    the chains follow: the work is taken at fixed x, then the kernel sweeps at the new β. Only
    balance is asked of the kernel. Reference: Jarzynski (1997), Neal (2001).

    Args:
        kernel: moves the chains at fixed β, and measures the work of changing it.
        betas: the ladder, increasing from 0; its last entry is the model whose log Z is wanted.
        n_chains: how many independent chains, two at least.
        sweeps_per_temperature: the sweeps at each β.
        initial: a run to continue, whose last β is the first of the ladder.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        A run of kind "forward". Going on from a part of the ladder with the same generator gives
        the numbers of one run.

    Raises:
        TypeError: if betas is no floating-point tensor, or a count is not an integer.
        ValueError: if the ladder does not increase, or does not start where the chains are.
    """
    betas = require_betas(betas)
    require_count(n_chains, "n_chains", minimum=2)
    if initial is None:
        initial = _start("forward", kernel, kernel.initial(n_chains, rng=rng), beta=0.0)
    require_chains(kernel, n_chains, initial.x, rng=rng)
    return _drive(kernel, betas, initial, "forward", sweeps_per_temperature, rng, progress)


def reverse_annealed_importance_sampling(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    initial: Float[Tensor, "chains n"] | AnnealedImportanceSampling,
    *,
    sweeps_per_temperature: int = 1,
    rng: torch.Generator,
    progress: bool = False,
) -> AnnealedImportanceSampling:
    """Drive samples of the cold end down the ladder, which bounds log Z from above on average.

    Equations (6.10), (6.15), section 6.1, with the roles of the ends exchanged: the mean of
    exp(-W) is unbiased for Z_0/Z_T, if the samples at the start are exact. Reference: Burda,
    Grosse and Salakhutdinov (2015).

    Args:
        kernel: as in `annealed_importance_sampling`.
        betas: the same increasing ladder; it is passed downwards.
        initial: samples of the distribution at the last β, or a run to continue, which stands
            there.
        sweeps_per_temperature: the sweeps at each β.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        A run of kind "reverse".

    Raises:
        TypeError: if betas or initial is no floating-point tensor.
        ValueError: if the ladder does not increase, or does not start where the chains are, or
            samples do not fit the model.
    """
    betas = require_betas(betas).flip(0)
    if not isinstance(initial, AnnealedImportanceSampling):
        require_floating(initial, "initial")
        initial = _start("reverse", kernel, initial, beta=float(betas[0]))
    n_chains = require_count(len(initial.x), "the number of chains", minimum=2)
    require_chains(kernel, n_chains, initial.x, rng=rng)
    return _drive(kernel, betas, initial, "reverse", sweeps_per_temperature, rng, progress)


def _start(kind: str, kernel: Kernel, x: Tensor, *, beta: float) -> AnnealedImportanceSampling:
    """Stand at the first β, no work done yet."""
    no_work = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    start = no_work.new_tensor([beta])
    return AnnealedImportanceSampling(kind, start, no_work, x, kernel.initial_log_partition())


def _drive(
    kernel: Kernel,
    betas: Tensor,
    state: AnnealedImportanceSampling,
    kind: str,
    n_sweeps: int,
    rng: torch.Generator,
    progress: bool,
) -> AnnealedImportanceSampling:
    require_count(n_sweeps, "sweeps_per_temperature")
    if state.kind != kind:
        raise ValueError(f"initial must be a {kind} run, but it is a {state.kind} one.")
    if betas[0] != state.betas[-1]:
        raise ValueError(
            f"the ladder must start where the chains are, at β = {float(state.betas[-1]):.4g}, but "
            f"it starts at {float(betas[0]):.4g}; fresh chains of a forward run are at 0."
        )
    x, work = state.x, state.work.clone()
    steps = tqdm(list(pairwise(betas.tolist())), disable=not progress)
    for beta, beta_next in steps:
        done, x = _work_and_sweep(kernel, x, beta, beta_next, rng=rng)
        work += done  # float64, whatever the kernel's dtype
        for _ in range(n_sweeps - 1):
            x = kernel.sweep(x, beta_next, rng=rng)
    passed = torch.cat([state.betas, betas[1:]])
    return AnnealedImportanceSampling(kind, passed, work, x, state.initial_log_partition)


def _work_and_sweep(
    kernel: Kernel, x: Tensor, beta: float, beta_next: float, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    if isinstance(kernel, BlockGibbs):  # the same, but one product with W serves both
        return kernel.work_and_sweep(x, beta, beta_next, rng=rng)
    work = kernel.work(x, beta, beta_next)
    return work, kernel.sweep(x, beta_next, rng=rng)
