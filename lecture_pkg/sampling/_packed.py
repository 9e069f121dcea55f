"""Many replicas of a ±J lattice in the bits of machine words: multi-spin coding.

A word of 64 bits holds one spin of 64 replicas, the lanes. The satisfied bonds of a spin are
counted for all lanes at once by logical operations, and so is the decision, from random words
whose bits are independent: every lane has random numbers of its own.

Metropolis flips a spin with at most two satisfied bonds for certain, with three with probability
p = exp(-4βJ), with four with p² = exp(-8βJ). A lane compares a uniform number U with its threshold
p digit by digit, the highest first: at the first digit where they differ, U < p if the digit of p
is one. Ten digits decide all but one lane in 1024; the words that hold such a lane go on with
further digits. Should all digits be equal, what is left of U is again uniform, and is compared
with what is left of p as a floating-point number. So the probability is the one wanted to about
2⁻⁷⁰, at the price of eleven random bits.
Reference: Newman and Barkema (1999), chapter 15.
"""

from dataclasses import dataclass

import numpy as np

from lecture_pkg.models.lattice import IsingLattice
from lecture_pkg.sampling._two_colours import TwoColours

_DIGITS, _FIRST_DIGITS = 20, 10


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The flip probabilities of the lanes, in the parts that are compared one after the other.

    Attributes:
        digits: the leading binary digits, (digits, 2, words or 1), a bit for each lane; along the
            second axis p for three satisfied bonds, then p² for four.
        rest: what they leave, in units of the last digit, (2, lanes or 1).
    """

    digits: np.ndarray
    rest: np.ndarray


class PackedLattice:
    """The updates of a lattice whose bonds have one magnitude, on packed replicas.

    Packed spins are an array (2, words, n/2), one half for each colour. The lanes of a group fill
    whole words, as small as holds them, of 64 bits at most; the words of a group follow each other.

    Args:
        lattice: even sides, bonds ±J, no fields.
        n_lanes: replicas in a group.
        n_groups: groups, such as temperatures.
    """

    def __init__(self, lattice: IsingLattice, n_lanes: int, n_groups: int = 1):
        self.magnitude = bond_magnitude(lattice)
        self.colours = TwoColours(lattice.shape)
        self.half = lattice.n_units // 2
        self.n_bonds = 2 * lattice.n_units
        self.n_lanes, self.n_groups = n_lanes, n_groups
        size = next((size for size in (1, 2, 4) if n_lanes <= 8 * size), 8)
        self.word = np.dtype(f"<u{size}")
        self.bits = 8 * size
        self.width = -(-n_lanes // self.bits) * self.bits  # lanes of a group, the unused included
        self.n_words = n_groups * self.width // self.bits
        self.ones = self.word.type(np.iinfo(self.word).max)
        self.bonds = [  # equal spins satisfy a positive bond
            (bonds > 0) * self.ones for bonds in self.colours.bonds(lattice)
        ]
        # Lanes that hold no replica must not ask for random numbers: they are lost in `unpack`.
        self._used = self._pack_lanes(np.ones((n_groups, n_lanes), bool))[:, None]
        self._satisfied = np.empty((4, self.n_words, self.half), self.word)

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Pack spins ±1, (groups, lanes, n)."""
        words = [self._pack_lanes(np.moveaxis(c, -1, 0) > 0) for c in self.colours.split(x)]
        return np.ascontiguousarray(np.stack(words).swapaxes(1, 2))

    def unpack(self, spins: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Undo `pack`, to ±1 of the given type."""
        up = []
        for colour in spins:
            lanes = _bits_of(colour.T).reshape(self.half, self.n_groups, -1)[..., : self.n_lanes]
            up.append(np.moveaxis(lanes, 0, -1))
        x = self.colours.join(up).astype(dtype)
        x *= 2
        x -= 1
        return x

    def thresholds(self, beta: float | np.ndarray) -> Thresholds:
        """Prepare the flip probabilities at one inverse temperature, or one for each lane.

        Args:
            beta: a number, or an array (groups, lanes).
        """
        p = np.exp(-4 * self.magnitude * beta)
        scaled = np.stack([p, p * p]) * 2.0**_DIGITS  # (2,) or (2, groups, lanes)
        whole = np.minimum(np.floor(scaled), 2**_DIGITS - 1)  # one is 0.111... and a rest of one
        places = np.arange(_DIGITS - 1, -1, -1).reshape(-1, *[1] * scaled.ndim)
        digits = whole.astype(np.int64) >> places & 1
        rest = scaled - whole
        if not np.ndim(beta):
            return Thresholds(digits[..., None].astype(self.word) * self.ones, rest[:, None])
        return Thresholds(self._pack_lanes(digits), self._pad_lanes(rest))

    def sweep(
        self, spins: np.ndarray, thresholds: Thresholds, generator: np.random.Generator
    ) -> None:
        """Update in place every spin of both colours once by the rule of Metropolis."""
        for colour in (0, 1):
            own = spins[colour]
            a, b, c, d = self._satisfied_bonds(spins, colour)
            both_ab, one_ab = a & b, a ^ b
            both_cd, one_cd = c & d, c ^ d
            four = both_ab & both_cd
            one_cd &= both_ab
            one_ab &= both_cd
            three = np.bitwise_or(one_ab, one_cd, out=one_ab)
            costly = three | four
            accepted = self._below_threshold(
                three, four, costly & self._used, thresholds, generator
            )
            np.bitwise_not(costly, out=costly)
            own ^= costly
            own ^= accepted

    def energies(self, spins: np.ndarray) -> np.ndarray:
        """Compute the energies (groups, lanes) in units of J; one colour sees all bonds."""
        a, b, c, d = self._satisfied_bonds(spins, 0)
        one_ab, both_ab = a ^ b, a & b
        one_cd, both_cd = c ^ d, c & d
        planes = np.stack(  # the binary digits of the number of satisfied bonds
            [one_ab ^ one_cd, both_ab ^ both_cd ^ (one_ab & one_cd), both_ab & both_cd]
        )
        return self.n_bonds - 2 * np.tensordot([1, 2, 4], self._count_lanes(planes), axes=1)

    def exchange(
        self, spins: np.ndarray, first: int, accept: np.ndarray, order: np.ndarray
    ) -> None:
        """Exchange in place the accepted lanes (pairs, lanes) of groups first, first + 1, ...

        The same as places, `order`, is what `ByteLattice` works with.
        """
        if not len(accept):
            return  # every other round between two groups
        mask = self._pack_lanes(accept[:, None]).reshape(len(accept), -1, 1)
        for colour in spins:
            groups = colour.reshape(self.n_groups, -1, self.half)
            lower, upper = groups[first:-1:2], groups[first + 1 :: 2]
            difference = lower ^ upper
            difference &= mask
            lower ^= difference
            upper ^= difference

    def _satisfied_bonds(self, spins: np.ndarray, colour: int) -> np.ndarray:
        satisfied = self.colours.combine(
            np.bitwise_xor, spins[1 - colour], self.bonds[colour], colour, out=self._satisfied
        )
        satisfied ^= spins[colour]
        return satisfied

    def _below_threshold(
        self,
        three: np.ndarray,
        four: np.ndarray,
        undecided: np.ndarray,
        thresholds: Thresholds,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Say for every lane of `three` and `four` whether its uniform number is below its p."""
        digits = thresholds.digits
        below, undecided = self._compare(
            three, four, undecided, digits[:_FIRST_DIGITS, ..., None], generator
        )
        where = np.flatnonzero(undecided)
        if where.size:
            word = where // self.half
            three, four, undecided = (w.reshape(-1)[where] for w in (three, four, undecided))
            digits = digits[_FIRST_DIGITS:]
            digits = digits[..., word] if digits.shape[-1] > 1 else digits
            more, undecided = self._compare(three, four, undecided, digits, generator)
            if undecided.any():
                more |= self._compare_rest(four, undecided, word, thresholds.rest, generator)
            below.reshape(-1)[where] |= more
        return below

    def _compare(
        self,
        three: np.ndarray,
        four: np.ndarray,
        undecided: np.ndarray,
        digits: np.ndarray,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare digits of U and p, and return the lanes found below and those still equal."""
        below_p, below_p2 = np.zeros_like(three), np.zeros_like(three)
        random = self._random_words((len(digits), *three.shape), generator)
        is_one = digits.max(tuple(range(2, digits.ndim))) > 0  # in any lane
        for place, same in enumerate(random):
            same &= undecided  # a random bit says whether the digits of U and p are the same
            decided = undecided ^ same
            if is_one[place, 0]:
                below_p |= decided & digits[place, 0]
            if is_one[place, 1]:
                below_p2 |= decided & digits[place, 1]
            undecided = same
        below_p &= three
        below_p2 &= four
        below_p |= below_p2
        return below_p, undecided

    def _compare_rest(
        self,
        four: np.ndarray,
        undecided: np.ndarray,
        word: np.ndarray,
        rest: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Decide the few lanes whose digits were all equal."""
        below = np.zeros((len(word), self.bits), bool)
        index, bit = np.nonzero(_bits_of(undecided).reshape(below.shape))
        is_four = _bits_of(four).reshape(below.shape)[index, bit]
        lane = (word[index] * self.bits + bit) % rest.shape[1]
        below[index, bit] = generator.random(len(index)) < rest[is_four, lane]
        return self._words_of(below)[:, 0]

    def _random_words(self, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        size = int(np.prod(shape))
        raw = generator.bit_generator.random_raw(-(-size * self.bits // 64))
        return raw.view(self.word)[:size].reshape(shape)

    def _pad_lanes(self, lanes: np.ndarray) -> np.ndarray:
        """Bring (..., groups, lanes) to (..., words · bits), with zeros where no lane is."""
        padded = np.zeros((*lanes.shape[:-1], self.width), lanes.dtype)
        padded[..., : self.n_lanes] = lanes
        return padded.reshape(*lanes.shape[:-2], -1)

    def _pack_lanes(self, bits: np.ndarray) -> np.ndarray:
        """Pack (..., groups, lanes) into (..., words)."""
        return self._words_of(self._pad_lanes(bits))

    def _words_of(self, bits: np.ndarray) -> np.ndarray:
        return np.packbits(bits.astype(bool), axis=-1, bitorder="little").view(self.word)

    def _count_lanes(self, planes: np.ndarray) -> np.ndarray:
        """Count the ones of every lane over the sites, (planes, words, n/2) to (planes, ...).

        Eight shifts bring every bit to the end of a byte, and the words are summed as numbers:
        their bytes are eight counters that do not overflow below 256 sites.
        """
        group = max(g for g in range(1, 256) if self.half % g == 0)
        shifts = np.arange(8, dtype=self.word).reshape(8, 1, 1, 1)
        ends = self.ones // self.word.type(255)  # 0x0101...
        ones = planes >> shifts
        ones &= ends
        sums = ones.reshape(*ones.shape[:-1], -1, group).sum(-1, dtype=self.word)
        counts = sums[..., None].view(np.uint8).sum(-2, dtype=np.int64)  # (8, planes, words, bytes)
        lanes = np.moveaxis(counts, 0, -1).reshape(len(planes), self.n_groups, -1)
        return lanes[..., : self.n_lanes]


def _bits_of(words: np.ndarray) -> np.ndarray:
    """Unpack (...,) into (..., bits)."""
    return np.unpackbits(words[..., None].view(np.uint8), axis=-1, bitorder="little")


def bond_magnitude(lattice: IsingLattice) -> float:
    """Return |J| of a lattice whose bonds are all ±J, and refuse any other."""
    if not isinstance(lattice, IsingLattice):
        raise TypeError(
            f"lattice must be an IsingLattice, but a {type(lattice).__name__} was given; use "
            "exchange_monte_carlo or HeatBath for a BoltzmannMachine."
        )
    bonds = np.stack([b.detach().cpu().numpy() for b in (lattice.right, lattice.down)])
    magnitude = float(np.abs(bonds).max())
    if magnitude == 0 or (np.abs(bonds) != np.abs(bonds).max()).any():
        raise ValueError(
            "multi-spin coding counts bonds and needs all of them ±J with one J > 0, but their "
            f"magnitudes range from {float(np.abs(bonds).min()):.4g} to {magnitude:.4g}; use "
            "Checkerboard for other bonds."
        )
    if bool((lattice.h != 0).any()):
        raise ValueError(
            "multi-spin coding knows no fields, but h is not zero; use Checkerboard instead."
        )
    return magnitude
