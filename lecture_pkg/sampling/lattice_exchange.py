"""Exchange Monte Carlo of a ±J lattice, with the replicas in the bits of machine words."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from lecture_pkg._checks import require_count, require_shape, require_tensor, require_unit_values
from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.sampling._bytes import ByteLattice
from lecture_pkg.sampling._ladder import require_betas
from lecture_pkg.sampling._packed import PackedLattice
from lecture_pkg.sampling.exchange import Exchange, ExchangeState

_FEWEST_MEANS = 20  # as many block means, over time and replicas, stand behind a standard error
_FEW_REPLICAS = 8  # up to here a byte for each spin is faster than a bit


def lattice_exchange_monte_carlo(
    lattice: IsingLattice,
    betas: Float[Tensor, " temperatures"],
    n_sweeps: int,
    *,
    n_replicas: int = 1,
    initial: ExchangeState | None = None,
    keep_every: int = 0,
    rng: torch.Generator,
    progress: bool = False,
) -> Exchange:
    """Draw from the distributions q_β of a ±J lattice over a ladder, as `exchange_monte_carlo`.

    Section 6. Sweeps are those of `MultiSpin`, at all temperatures in one array. After each of
    them neighbours on the ladder, pairs (0,1), (2,3), ... and (1,2), (3,4), ... by turns, exchange
    their states with probability min{1, exp((β' - β)(E' - E))}. The results have the same meaning,
    so that `round_trips` takes them. References: Hukushima and Nemoto (1996), Newman and Barkema
    (1999).

    For other bonds, or fields, give a `Checkerboard` to `exchange_monte_carlo`.

    Args:
        lattice: even sides, bonds ±J of one magnitude, no fields.
        betas: the ladder, increasing, above zero: a Metropolis sweep of all spins at β = 0 only
            turns them over.
        n_sweeps: sweeps of every walker, each followed by one round of exchanges.
        n_replicas: how many independent copies of the whole ladder; 64 cost little more than 8.
        initial: the state of a run to continue; without it, all spins are drawn at random.
        keep_every: the states are kept after every so many sweeps; 0 keeps none.
        rng: the source of all randomness; seeds a NumPy stream for every sweep.
        progress: shows a bar.

    Returns:
        An `Exchange`. Continuing from `.state` with the same generator gives the numbers of one
        run.

    Raises:
        TypeError: if a tensor or a count is of the wrong kind.
        ValueError: if the lattice is not as above; if the ladder does not increase from above
            zero, or holds less than two temperatures; if initial does not fit, or a count is too
            small.
    """
    betas = require_betas(betas)
    if not 2 <= len(betas) <= torch.iinfo(torch.int16).max or betas[0] == 0:
        raise ValueError(
            "betas must hold at least two inverse temperatures, all above zero, but it holds "
            f"{len(betas)} from {float(betas[0]):.4g} on; start a ladder from zero with "
            'exchange_monte_carlo and Checkerboard(lattice, "heat_bath").'
        )
    require_count(n_sweeps, "n_sweeps")
    require_count(n_replicas, "n_replicas")
    require_count(keep_every, "keep_every", 0)
    shape = (len(betas), n_replicas)
    engine = ByteLattice if n_replicas <= _FEW_REPLICAS else PackedLattice
    spins_of: Any = engine(lattice, n_replicas, len(betas))
    x, walker, done = _start(lattice, shape, initial, rng)
    seeds = torch.randint(-(2**63), 2**63 - 1, (n_sweeps, 4), generator=rng).numpy()
    generator = np.random.Generator(np.random.SFC64(0))
    stream = generator.bit_generator.state
    beta = betas.numpy()
    thresholds = spins_of.thresholds(np.repeat(beta[:, None], n_replicas, 1))
    steps = spins_of.magnitude * np.diff(beta)[:, None]  # J (β' - β), (pairs, 1)
    probability_sum = np.zeros((len(betas) - 1, n_replicas))
    n_blocks = min(n_sweeps, -(-_FEWEST_MEANS // n_replicas))
    energy_sum = np.zeros((n_blocks, *shape), np.int64)
    history = np.empty((n_sweeps, *shape), np.int16)
    places = np.arange(walker.size).reshape(shape)
    kept: list[np.ndarray] = []
    spins = spins_of.pack(x)
    for t in tqdm(range(n_sweeps), disable=not progress):
        stream["state"]["state"] = seeds[t].view(np.uint64)
        generator.bit_generator.state = stream
        spins_of.sweep(spins, thresholds, generator)
        energy = spins_of.energies(spins)  # (temperatures, replicas)
        first = (done + t) % 2
        gain = steps[first::2] * (energy[first + 1 :: 2] - energy[first:-1:2])
        probability = np.exp(np.minimum(gain, 0, out=gain), out=gain)
        accept = generator.random(gain.shape) < probability
        order = _order_after(accept, places, first)
        spins_of.exchange(spins, first, accept, order)
        walker = walker.take(order)
        probability_sum[first::2] += probability
        history[t] = walker
        energy_sum[t * n_blocks // n_sweeps] += energy.take(order)
        if keep_every and (t + 1) % keep_every == 0:
            kept.append(spins_of.unpack(spins, x.dtype))
    n_proposals = torch.bincount((done + torch.arange(n_sweeps)) % 2, minlength=2) * n_replicas
    pair_parity = torch.arange(len(steps)) % 2
    lengths = np.bincount(np.arange(n_sweeps) * n_blocks // n_sweeps)[:, None, None]
    means = torch.from_numpy(spins_of.magnitude * energy_sum / lengths)
    means = means.transpose(1, 2).flatten(0, 1)  # (means, temperatures)
    level = np.empty_like(history)
    np.put_along_axis(level, history, np.arange(len(betas), dtype=np.int16)[:, None], axis=1)
    last = torch.from_numpy(level[-1].astype(np.int64))
    by_level = torch.from_numpy(spins_of.unpack(spins, x.dtype))
    return Exchange(
        x=torch.from_numpy(np.array(kept, dtype=x.dtype).reshape(-1, *x.shape)),
        level=torch.from_numpy(level),
        keep_every=keep_every,
        acceptance=torch.from_numpy(probability_sum.sum(1)) / n_proposals[pair_parity],
        mean_energy=torch.from_numpy(
            spins_of.magnitude * energy_sum.sum((0, 2)) / (n_sweeps * n_replicas)
        ),
        mean_energy_error=means.std(0) / len(means) ** 0.5 if len(means) > 1 else betas * torch.nan,
        state=ExchangeState(by_level.take_along_dim(last[..., None], 0), last, done + n_sweeps),
    )


def _order_after(accept: np.ndarray, places: np.ndarray, first: int) -> np.ndarray:
    """Return which place each place takes its content from, (temperatures, replicas)."""
    order = places.copy()
    shift = accept * places.shape[1]
    order[first:-1:2] += shift
    order[first + 1 :: 2] -= shift
    return order


def _start(
    lattice: IsingLattice,
    shape: tuple[int, int],
    initial: ExchangeState | None,
    rng: torch.Generator,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return spins (temperatures, replicas, n) and walkers by level, and the sweeps behind."""
    if initial is None:
        x = 2 * torch.randint(2, (*shape, lattice.n_units), generator=rng) - 1
        walker = np.repeat(np.arange(shape[0], dtype=np.int16)[:, None], shape[1], 1)
        return x.to(lattice.h.dtype).numpy(), walker, 0
    require_shape(require_tensor(initial.x, "initial.x"), (*shape, lattice.n_units), "initial.x")
    require_unit_values(initial.x, lattice.units, "initial.x")
    require_shape(require_tensor(initial.level, "initial.level"), shape, "initial.level")
    order = torch.arange(shape[0])[:, None].expand(shape)
    if not torch.equal(initial.level.sort(0).values, order):
        raise ValueError(
            "initial.level must hold every level of betas once in each column, one walker at "
            "each temperature, but it does not; pass the state of an earlier run unchanged."
        )
    by_level = initial.level.argsort(0)
    x = initial.x.take_along_dim(by_level[..., None], 0)
    return x.to(lattice.h.dtype).numpy(), by_level.numpy().astype(np.int16), initial.n_sweeps
