"""The Suwa-Todo kernel: balance without detailed balance, by rotating a circle of weights."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lecture_pkg._states import enumerate_states
from lecture_pkg.sampling._pairwise import PairwiseKernel
from lecture_pkg.sampling.kernel import InverseTemperature, as_column


class SuwaTodo(PairwiseKernel):
    """Pairs of units (0, 1), (2, 3), ... take their four joint states by rotation; see `Kernel`.

    Equation (5.24), section 5.3. Given all other units, the joint states of a pair lie as arcs,
    as long as their weights, on a circle. A uniform point of the present state's arc is moved on
    by the longest arc, and the state it arrives in is the next. The rotation keeps uniform points
    uniform, which is balance; and it leads from i to j more often than from j to i.

    What holds: one pair update keeps balance always. It breaks detailed balance where no state
    outweighs the other three together, and keeps it where one does. It stays in the present state
    with the least probability that any kernel with this balance can have: never, unless one state
    outweighs the others together. A single unit of two values cannot break detailed balance,
    so that an odd last unit is updated alone, by the same rule, which then is Metropolis's.

    Where all weights are equal (β = 0 without reference) the rotation is a fixed permutation, and
    chains do not mix; use `HeatBath` there.

    Args:
        model: its parameters are read at each call, so that a kernel follows the learning. An RBM
            is taken as the Boltzmann machine over all its units, visible first; an IsingLattice as
            one with all couplings, where `Checkerboard` is the fast kernel.
        reference: the field a on all units, shape (n_units,).

    Raises:
        TypeError: if the model's units do not couple in pairs, or reference has another dtype.
        ValueError: if reference does not fit the model, or is not finite.

    Reference: Suwa and Todo (2010).
    """

    @torch.no_grad()
    def sweep(
        self,
        x: Float[Tensor, "chains n"],
        beta: InverseTemperature = 1.0,
        *,
        rng: torch.Generator,
    ) -> Float[Tensor, "chains n"]:
        """Update the pairs in order."""
        self._require_chains(x, beta)
        machine, b = self._machine(), as_column(beta, x)
        J, h, a = machine.J, machine.h, self.reference
        x = x.clone()
        for start in range(0, self.n_units, 2):
            pair = slice(start, min(start + 2, self.n_units))
            joint = _joint_states(x[:, pair].shape[1], self.units).to(x)  # (states, 1 or 2)
            inside = J[pair, pair]
            field = x @ J[:, pair] - x[:, pair] @ inside + h[pair]  # from the other units
            log_weights = (b * field + (1 - b) * a[pair]) @ joint.T
            log_weights = log_weights + b * ((joint @ inside) * joint).sum(1) / 2
            now = (x[:, None, pair] == joint).all(-1).long().argmax(1)
            uniform = torch.rand(len(x), generator=rng, dtype=torch.float64, device=x.device)
            x[:, pair] = joint[rotate(log_weights, now, uniform)]
        return x

    @torch.no_grad()
    def transition_matrix(self, beta: float = 1.0) -> Float[Tensor, "states states"]:
        """Compute w(x|x') of one sweep exactly: the product of the matrices of the pairs."""
        n, log_weights = self.n_units, self._log_weights(beta)
        matrix = torch.eye(2**n, dtype=torch.float64)
        for start in range(0, n, 2):
            size = min(2, n - start)
            # index of a state = (units before the pair, the pair, units after it)
            shape = (2**start, 2**size, 2 ** (n - start - size))
            weights = log_weights.reshape(shape).transpose(1, 2)
            moves = landfill_matrix(weights.softmax(-1))  # (before, after, to, from)
            before = matrix.reshape(*shape, 2**n)
            matrix = torch.einsum("uvij,ujvs->uivs", moves, before).reshape(2**n, 2**n)
        return matrix


def rotate(
    log_weights: Float[Tensor, "chains states"],
    now: Int[Tensor, " chains"],
    uniform: Float[Tensor, " chains"],
) -> Int[Tensor, " chains"]:
    """Draw the next state of every chain: rotate the circle of arcs by its longest arc.

    Equation (5.24), section 5.3. Cut open where the longest arc begins, the circle is a line on
    which the point of the present state, a share u of its arc before its end, moves on by the
    longest arc. Lengths are counted from the end of the line, in float64: there the sums of small
    arcs stay exact, so that no state is too improbable to be left.

    Args:
        log_weights: logarithms of the weights, up to a constant for each chain.
        now: the present state of every chain.
        uniform: numbers in [0, 1), the u of every chain.

    Returns:
        The next state of every chain.
    """
    arcs, first = _longest_first(log_weights.double().softmax(-1))
    place = ((now - first) % arcs.shape[-1])[:, None]
    behind = _length_behind(arcs)
    left = (behind + uniform[:, None] * arcs).gather(-1, place) - arcs[:, :1]  # after the rotation
    # states behind which the point lies, none of them where it went round to the longest arc
    beyond = (left > behind[:, 1:]).sum(-1)
    return (first - beyond) % arcs.shape[-1]


def landfill_matrix(weights: Float[Tensor, "*batch states"]) -> Float[Tensor, "*batch to source"]:
    """Compute the transition matrix of the rotation: which share of each arc lands in which arc.

    Equations (5.24), (5.25), section 5.3.

    Args:
        weights: probabilities of the states, in the order in which they lie on the circle.

    Returns:
        w(i|j): row i, column j; columns sum to one.
    """
    arcs, first = _longest_first(weights)
    behind = _length_behind(arcs)
    length = arcs.clamp(min=torch.finfo(arcs.dtype).tiny)  # no arc is empty, only very short
    # of the arc `source`, the share that lands no further from the end than where `to` ends
    reach = behind[..., :, None] + arcs[..., :1, None] - behind[..., None, :]
    share = (reach / length[..., None, :]).clamp(0, 1)  # (to, source)
    everything = torch.ones_like(share[..., :1, :])
    longest, others = share[..., -1:, :], torch.cat([everything, share[..., 1:, :]], -2)
    landed = torch.cat([longest, others[..., :-1, :] - others[..., 1:, :]], -2)
    place = (torch.arange(arcs.shape[-1], device=arcs.device) - first[..., None]) % arcs.shape[-1]
    landed = landed.gather(-2, place[..., :, None].expand_as(landed))
    return landed.gather(-1, place[..., None, :].expand_as(landed))


def _longest_first(arcs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the arcs in their order round the circle from the longest, and which that is."""
    first = arcs.argmax(-1)
    order = (first[..., None] + torch.arange(arcs.shape[-1], device=arcs.device)) % arcs.shape[-1]
    return arcs.gather(-1, order), first


def _length_behind(arcs: Tensor) -> Tensor:
    """Return, for each arc of the line, the sum of those that come after it."""
    from_the_end = arcs.flip(-1).cumsum(-1).flip(-1)
    return torch.cat([from_the_end[..., 1:], torch.zeros_like(arcs[..., :1])], -1)


def _joint_states(n: int, units: str) -> Tensor:
    return enumerate_states(0, 2**n, n, units)
