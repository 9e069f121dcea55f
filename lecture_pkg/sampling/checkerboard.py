"""Updates of a square lattice with any bonds, all spins of one colour at once."""

import numpy as np
import torch
from torch import Tensor

from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.sampling._two_colours import LatticeKernel

RULES = ("metropolis", "heat_bath")
_SPINS_IN_CACHE = 2**17  # chains are taken in blocks of about as many spins


class Checkerboard(LatticeKernel):
    """Metropolis or heat-bath updates of an `IsingLattice`, one colour of the chessboard at a time.

    Sections 5.2, 7.2. With the local field f of a spin x and a uniform number u,

        metropolis: flip where u < exp(-2β x f);   heat bath: x = +1 where u < 1 / (1 + exp(-2β f)).

    Metropolis moves more. At β = 0 it turns every spin over in every sweep, which leaves the
    uniform distribution as it is without ever mixing; the heat bath draws anew there.

    Everything is computed in the dtype of the lattice, from one random word of its width a spin.

    Args:
        lattice: both sides even; its parameters are read at each call.
        rule: "metropolis" or "heat_bath".

    Raises:
        TypeError: if lattice is no IsingLattice, or not of float32 or float64.
        ValueError: if a side is odd, or the rule is unknown.
    """

    def __init__(self, lattice: IsingLattice, rule: str = "metropolis"):
        super().__init__(lattice)
        if rule not in RULES:
            raise ValueError(f'rule must be "metropolis" or "heat_bath", not {rule!r}.')
        if self.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"lattice must be of float32 or float64, but its dtype is {self.dtype}; convert "
                "it with lattice.float()."
            )
        self.rule = rule

    def _sweeps(
        self, x: np.ndarray, betas: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        bonds = self.colours.bonds(self.model)
        h = self.model.h.detach().cpu().numpy().reshape(-1)
        fields = self.colours.split(h) if h.any() else None
        update = _metropolis if self.rule == "metropolis" else _heat_bath
        betas = betas.astype(x.dtype)
        result = np.empty_like(x)
        block = max(1, _SPINS_IN_CACHE // self.n_units)
        for start in range(0, len(x), block):
            chains = slice(start, start + block)
            spins = self.colours.split(x[chains])  # two of (chains, n/2)
            scratch = np.empty((4, *spins[0].shape), x.dtype)
            of_chains = betas[:, chains, None] if betas.shape[1] > 1 else betas[:, :, None]
            for beta in of_chains:  # (chains, 1) or (1, 1)
                for colour in (0, 1):
                    terms = self.colours.combine(
                        np.multiply, spins[1 - colour], bonds[colour], colour, out=scratch
                    )
                    field = terms[0]
                    for term in terms[1:]:
                        field += term
                    if fields:
                        field += fields[colour]
                    words = _random_words(field, generator)
                    update(spins[colour], field, beta, words, scratch=terms[1])
            result[chains] = self.colours.join(spins)
        return result

    def _flip_probability(self, energy_change: Tensor, beta: float) -> Tensor:
        if self.rule == "metropolis":
            return (-beta * energy_change).clamp(max=0).exp()
        return (-beta * energy_change).sigmoid()


_WORDS: dict[np.dtype, np.dtype] = {
    np.dtype(np.float32): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.uint64),
}


def _metropolis(
    spins: np.ndarray, field: np.ndarray, beta: np.ndarray, words: np.ndarray, scratch: np.ndarray
) -> None:
    """Flip in place where u < exp(-2β x f), with u = word / 2^bits."""
    field *= spins
    field *= -2 * beta
    with np.errstate(over="ignore"):  # infinity is as certain as one
        np.exp(field, out=field)
        field *= 2.0 ** (8 * words.itemsize)
    np.copyto(scratch, words, casting="unsafe")
    scratch -= field  # negative where the spin flips
    flips = scratch.view(words.dtype)
    flips &= _sign_bit(words)
    flipped = spins.view(words.dtype)
    flipped ^= flips


def _heat_bath(
    spins: np.ndarray, field: np.ndarray, beta: np.ndarray, words: np.ndarray, scratch: np.ndarray
) -> None:
    """Set in place x = +1 where u < (1 + tanh(βf)) / 2, with u = word / 2^bits."""
    field *= -beta
    np.tanh(field, out=field)
    field -= 1
    field *= 2.0 ** (8 * words.itemsize - 1)
    np.copyto(scratch, words, casting="unsafe")
    field += scratch  # negative where the spin is +1
    negative = field.view(words.dtype)
    np.bitwise_not(negative, out=negative)
    negative &= _sign_bit(words)
    one = np.ones_like(spins[:1, :1]).view(words.dtype)
    np.bitwise_or(negative, one, out=spins.view(words.dtype))


def _sign_bit(words: np.ndarray) -> np.unsignedinteger:
    return words.dtype.type(1 << (8 * words.itemsize - 1))


def _random_words(like: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw one random word for each entry, as wide as the entry."""
    raw: np.ndarray = generator.bit_generator.random_raw(-(-like.nbytes // 8))
    return raw.view(_WORDS[like.dtype])[: like.size].reshape(like.shape)
