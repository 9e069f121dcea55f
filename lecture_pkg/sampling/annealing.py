"""Simulated annealing: cool slowly, and the states of lowest energy are what remains."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import require_count
from lecture_pkg.sampling._ladder import require_betas, require_chains
from lecture_pkg.sampling.kernel import Kernel


@dataclass(frozen=True, eq=False)
class Annealing:
    """What `simulated_annealing` leaves: where the chains are, and the best they have seen.

    Attributes:
        x: the chains after the last sweep; the `initial` of a run that goes on.
        energy: their energies.
        best_x: of each chain the state of lowest energy since its start, the start included.
        best_energy: the energies of those.
        mean_energy: mean of ∂F_β/∂β over the chains after the last sweep at each temperature of
            the schedule; equal to ⟨∂F_β/∂β⟩ only as far as the cooling was slow.
        mean_energy_error: standard errors of those, from the spread between chains; NaN for one.
    """

    x: Float[Tensor, "chains n"]
    energy: Float[Tensor, " chains"]
    best_x: Float[Tensor, "chains n"]
    best_energy: Float[Tensor, " chains"]
    mean_energy: Float[Tensor, " temperatures"]
    mean_energy_error: Float[Tensor, " temperatures"]


def simulated_annealing(
    kernel: Kernel,
    betas: Float[Tensor, " temperatures"],
    n_chains: int,
    *,
    sweeps_per_temperature: int = 1,
    initial: Float[Tensor, "chains n"] | None = None,
    rng: torch.Generator,
    progress: bool = False,
) -> Annealing:
    """Sweep at each inverse temperature of the schedule in turn, every chain by itself.

    Equation (5.31), section 5.4. At fixed β the kernel leaves q_β invariant; the slower β grows,
    the less the chains lag behind. Reference: Kirkpatrick, Gelatt and Vecchi (1983).

    Args:
        kernel: moves the chains. The energy that is reported is the kernel's at the last β: E(x)
            for visible units without reference, and E[E(x, z) | x, β] where hidden units are
            summed out.
        betas: the schedule, in the order of the visits. It may exceed one, repeat a value (a
            quench repeats the last) or go back (a reheating).
        n_chains: how many independent chains.
        sweeps_per_temperature: the sweeps at each β.
        initial: where to start, in the model's units and dtype; without it, draws from q_0.
        rng: the source of all randomness.
        progress: shows a bar.

    Returns:
        An `Annealing`. Running the rest of a schedule from `.x` with the same generator gives the
        numbers of one run.

    Raises:
        TypeError: if betas or initial is no floating-point tensor, or a count is not an integer.
        ValueError: if betas is empty, negative or not finite; if initial does not fit; if a count
            is below one.
    """
    betas = require_betas(betas, increasing=False)
    require_count(sweeps_per_temperature, "sweeps_per_temperature")
    x = require_chains(kernel, n_chains, initial, rng=rng)
    schedule = betas.tolist()
    energy = kernel.energy(x, schedule[-1])
    best_x, best_energy = x, energy
    means, errors = [], []
    for beta in tqdm(schedule, disable=not progress):
        for _ in range(sweeps_per_temperature):
            x = kernel.sweep(x, beta, rng=rng)
            energy = kernel.energy(x, schedule[-1])
            lower = energy < best_energy
            best_x = torch.where(lower[:, None], x, best_x)
            best_energy = torch.where(lower, energy, best_energy)
        of_chains = kernel.energy(x, beta).to(torch.float64)
        means.append(of_chains.mean())
        errors.append(of_chains.std() / n_chains**0.5 if n_chains > 1 else means[-1] * torch.nan)
    return Annealing(x, energy, best_x, best_energy, torch.stack(means), torch.stack(errors))
