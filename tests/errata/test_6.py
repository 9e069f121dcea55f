"""The slides, Jarzynski's equality and population annealing: what is printed, and what holds."""

import itertools
import math

import pytest
import torch

E = torch.tensor(
    [[0.0, 0.7, -0.4], [0.9, -0.5, 0.3], [-0.6, 0.2, 1.1], [0.4, -2.1, 0.8]], dtype=torch.float64
)
P = (-E).softmax(1)
T = len(E) - 1
RATIO = float((-E[T]).exp().sum() / (-E[0]).exp().sum())  # Z_T / Z_0


def transition(t: int) -> torch.Tensor:
    """Keeps P_t: stays with probability 1/2, else draws from P_t."""
    return 0.5 * torch.eye(3, dtype=torch.float64) + 0.5 * P[t][:, None]


PATHS = list(itertools.product(range(3), repeat=T + 1))


def delta_work(path: tuple[int, ...], t: int) -> torch.Tensor:
    return E[t, path[t]] - E[t - 1, path[t]]


def moves(path: tuple[int, ...], t: int) -> torch.Tensor:
    return transition(t - 1)[path[t], path[t - 1]]


@pytest.mark.erratum("slide-jarzynski-product")
def test_the_product_holds_each_work_once_and_the_initial_distribution_once() -> None:
    """Printed: Σ Π_t [e^{-β δw_T} w_{t-1}(x_t|x_{t-1}) P_0(x)]."""
    printed = right = last_work_only = 0.0
    for path in PATHS:
        factors = printed_factors = last_factors = 1.0
        for t in range(1, T + 1):
            factors *= float((-delta_work(path, t)).exp() * moves(path, t))
            last_factors *= float((-delta_work(path, T)).exp() * moves(path, t))
        printed_factors = last_factors * float(P[0, path[0]]) ** T
        right += factors * float(P[0, path[0]])
        last_work_only += last_factors * float(P[0, path[0]])
        printed += printed_factors
    assert right == pytest.approx(RATIO, rel=1e-12)
    assert abs(printed / RATIO - 1) > 0.1
    # Neither slip is harmless alone: P_0 outside of the product does not mend it.
    assert abs(last_work_only / RATIO - 1) > 0.1


@pytest.mark.erratum("slide-population-index")
def test_the_weights_run_from_one_to_t() -> None:
    """Printed: e^{-β δw_0}, ..., e^{-β δw_{T-1}}, although δw_t = E_t - E_{t-1} starts at t = 1.

    With nothing done at t = 0 the printed weights lack the last work.
    """
    right = printed = 0.0
    for path in PATHS:
        probability = float(P[0, path[0]])
        for t in range(1, T + 1):
            probability *= float(moves(path, t))
        works = [float(delta_work(path, t)) for t in range(1, T + 1)]
        right += probability * math.exp(-sum(works))
        printed += probability * math.exp(-sum(works[:-1]))
    assert right == pytest.approx(RATIO, rel=1e-12)
    assert abs(printed / RATIO - 1) > 0.1


@pytest.mark.erratum("slide-population-drop")
def test_small_weights_must_be_dropped_by_lot() -> None:
    """Printed: copy the large ones, ignore the small ones by a fixed criterion."""
    weight = (E[0] - E[1]).exp()
    expected = float(P[0] @ weight)
    ratio = float((-E[1]).exp().sum() / (-E[0]).exp().sum())
    assert expected == pytest.approx(ratio, rel=1e-12)
    threshold = 0.5 * expected
    assert bool((weight < threshold).any())
    ignored = float(P[0] @ torch.where(weight < threshold, 0, weight))
    assert ignored < 0.95 * ratio
    # By lot: one or none, with probability weight / threshold, and then the threshold's weight.
    survives = (weight / threshold).clamp(max=1)
    by_lot = float(P[0] @ (survives * weight.clamp(min=threshold)))
    assert by_lot == pytest.approx(ratio, rel=1e-12)
