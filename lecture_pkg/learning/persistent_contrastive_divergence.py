"""Persistent contrastive divergence: chains that go on from one update to the next."""

import math
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor

from lecture_pkg._checks import require_count, require_floating, require_shape, require_unit_values
from lecture_pkg.learning.contrastive_divergence import require_generator, require_model_and_data
from lecture_pkg.learning.moment_gradient import (
    draw,
    mean_hidden,
    mean_visible,
    write_boltzmann_gradient,
    write_rbm_gradient,
)
from lecture_pkg.models.boltzmann import BoltzmannMachine
from lecture_pkg.models.rbm import RBM
from lecture_pkg.sampling._ladder import require_betas
from lecture_pkg.sampling.block_gibbs import BlockGibbs
from lecture_pkg.sampling.exchange import ExchangeState, exchange_step, walkers_by_level
from lecture_pkg.sampling.heat_bath import HeatBath


class PersistentContrastiveDivergence:
    """The PCD-k gradient; for `lecture_pkg.learning.fit`.

    Section 7.4. The chains never return to the data. While the parameters change slowly the
    chains stay close to the model, and the average over them close to the average over it:

        gradient = average of the statistics over the chains - their average over the data

    Each of the two is divided by its own count. An RBM is swept by block Gibbs; its hidden units
    enter both averages through E[z | x]. A Boltzmann machine is swept by `HeatBath`. No
    derivative is taken through the samples.

    With `betas` every chain becomes one chain at each temperature of a ladder, which trade their
    temperatures as in `exchange_monte_carlo`; the coldest ones, at β = 1, enter the gradient.
    They cross between modes that a single chain does not leave.

    References: Tieleman, ICML (2008) 1064; tempered chains: Desjardins et al., AISTATS (2010)
    145, and Cho, Raiko and Ilin, IJCNN (2010); centring: see `ContrastiveDivergence`.

    Args:
        k: sweeps between two updates.
        n_chains: how many chains there are.
        rng: moves the chains.
        centered: whether to return the centred gradient, with the means of the batch as offsets.
        betas: inverse temperatures, increasing from the hottest to 1; without them all chains
            are at β = 1.
        initial: where the chains start, shape (n_chains, n_visible), in the model's units;
            without it every unit is drawn from a fair coin, at each temperature.

    Raises:
        TypeError: if `k` or `n_chains` is not an integer, `rng` is no generator, or `betas` or
            `initial` is no floating-point tensor.
        ValueError: if `k` or `n_chains` is below one; if `betas` do not increase to 1; if
            `initial` has another number of rows, or is given together with `betas`.
    """

    def __init__(
        self,
        k: int = 1,
        n_chains: int = 100,
        *,
        rng: torch.Generator,
        centered: bool = False,
        betas: Float[Tensor, " temperatures"] | None = None,
        initial: Float[Tensor, "chains visible"] | None = None,
    ):
        self.k = require_count(k, "k")
        self.n_chains = require_count(n_chains, "n_chains")
        self.rng = require_generator(rng)
        self.centered = centered
        self.betas = None if betas is None else _require_ladder(betas)
        if initial is not None:
            require_floating(initial, "initial")
            require_shape(initial, (n_chains, None), "initial")
            if betas is not None:
                raise ValueError(
                    "initial places chains at one temperature, but betas ask for several; "
                    "leave one of them out."
                )
        self._visible = initial
        self._hidden: Tensor | None = None  # drawn already from the visible units of an RBM
        self._walkers: ExchangeState | None = None

    @property
    def chains(self) -> Float[Tensor, "chains visible"] | None:
        """The chains as the last gradient saw them; None before the first one."""
        return self._visible

    def __call__(self, model: RBM | BoltzmannMachine, x: Real[Tensor, "n visible"]) -> None:
        """Move the chains and overwrite `.grad` of the parameters; it returns None.

        Args:
            model: an RBM or a Boltzmann machine, the same at every call.
            x: data in the model's units, one sample a row.

        Raises:
            TypeError: if the model is of another kind, or `x` is not a tensor.
            ValueError: if `x` or `initial` does not fit the model, or is outside its units; if
                `x` is empty.
        """
        self.check(model, x)
        self.gradient(model, x)

    def check(self, model: RBM | BoltzmannMachine, x: Real[Tensor, "n visible"]) -> None:
        """Raise the errors of a call without estimating anything."""
        require_model_and_data(model, x)
        if self._visible is not None:
            require_shape(self._visible, (self.n_chains, x.shape[1]), "initial")
            require_unit_values(self._visible, model.units, "initial")

    @torch.no_grad()
    def gradient(self, model: RBM | BoltzmannMachine, x: Real[Tensor, "n visible"]) -> None:
        """Move the chains and overwrite `.grad` as a call does, without checking the data."""
        x = x.to((model.b if isinstance(model, RBM) else model.h).dtype)
        if self.betas is not None:
            x_model = self._exchanged(model, self.betas)
        elif isinstance(model, RBM):
            self._rbm_gradient(model, x)
            return
        else:
            x_model = self._swept(model, self._start(model, x))
        self._visible = x_model
        rows = torch.cat([x_model, x])  # (chains + n, visible)
        if isinstance(model, RBM):
            mean_z = mean_hidden(model, rows)
            write_rbm_gradient(model, rows, mean_z, self.n_chains, self.centered)
        else:
            write_boltzmann_gradient(model, rows, self.n_chains, self.centered)

    def _rbm_gradient(self, model: RBM, x: Tensor) -> None:
        units, rng, z = model.units, self.rng, self._hidden
        if z is None:
            z = draw(mean_hidden(model, self._start(model, x)), units, rng=rng)
        for _ in range(self.k - 1):
            x_model = draw(mean_visible(model, z), units, rng=rng)
            z = draw(mean_hidden(model, x_model), units, rng=rng)
        x_model = draw(mean_visible(model, z), units, rng=rng)
        # The hidden units of the chains and of the data in one product; those of the chains are
        # drawn here for the next call, which then need not ask for them again.
        rows = torch.cat([x_model, x])  # (chains + n, visible)
        mean_z = mean_hidden(model, rows)
        self._visible = x_model
        self._hidden = draw(mean_z[: self.n_chains], units, rng=rng)
        write_rbm_gradient(model, rows, mean_z, self.n_chains, self.centered)

    def _start(self, model: RBM | BoltzmannMachine, x: Tensor) -> Tensor:
        """Return the chains as they are, in the dtype of the data; fair coins at first."""
        if self._visible is not None:
            return self._visible.to(x.dtype)
        fair = x.new_full((self.n_chains, x.shape[1]), 0.5 if model.units == "binary" else 0.0)
        return draw(fair, model.units, rng=self.rng)

    def _swept(self, model: BoltzmannMachine, x_model: Tensor) -> Tensor:
        kernel = HeatBath(model)
        for _ in range(self.k):
            x_model = kernel.sweep(x_model, rng=self.rng)
        return x_model

    def _exchanged(self, model: RBM | BoltzmannMachine, betas: Tensor) -> Tensor:
        kernel = BlockGibbs(model) if isinstance(model, RBM) else HeatBath(model)
        walkers = self._walkers
        if walkers is None:
            shape = (len(betas), self.n_chains)
            x = kernel.initial(math.prod(shape), rng=self.rng)
            level = torch.arange(len(betas), device=x.device)[:, None].expand(shape)
            walkers = ExchangeState(x.view(*shape, -1), level.contiguous(), 0)
        for _ in range(self.k):
            walkers, _ = exchange_step(kernel, betas, walkers, rng=self.rng)
        self._walkers = walkers
        coldest = walkers_by_level(walkers.level)[-1]  # (chains,)
        return walkers.x[coldest, torch.arange(self.n_chains, device=coldest.device)]

    def state_dict(self) -> dict[str, Any]:
        """Return the chains and the state of the generator."""
        walkers = None if self._walkers is None else dict(vars(self._walkers))
        return {
            "rng": self.rng.get_state(),
            "visible": self._visible,
            "hidden": self._hidden,
            "walkers": walkers,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.rng.set_state(state["rng"])
        self._visible, self._hidden = state["visible"], state["hidden"]
        walkers = state["walkers"]
        self._walkers = None if walkers is None else ExchangeState(**walkers)

    def describe(self) -> str:
        """Name the settings; checkpoints of other settings are refused by it."""
        betas = None if self.betas is None else self.betas.tolist()
        return (
            f"PersistentContrastiveDivergence(k={self.k}, n_chains={self.n_chains}, "
            f"centered={self.centered}, betas={betas}), seed {self.rng.initial_seed()}"
        )


def _require_ladder(betas: Tensor) -> Tensor:
    betas = require_betas(betas)
    if len(betas) < 2 or float(betas[-1]) != 1:
        raise ValueError(
            f"betas must increase from the hottest temperature to 1, that of the model, but "
            f"{len(betas)} ending in {float(betas[-1]):.4g} were given; "
            "use for example torch.linspace(0, 1, 10, dtype=torch.float64)."
        )
    return betas
