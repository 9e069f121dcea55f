"""Round trips counted by hand."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from lecture_pkg.sampling import round_trips


def walks(*rows: str) -> Tensor:
    """One string of digits for each walker: its level after every sweep."""
    return torch.tensor([[int(c) for c in row] for row in rows], dtype=torch.int16).T[:, :, None]


def test_numbers_and_times_by_hand() -> None:
    # The first walker is cold after the sweeps 0, 4 and 10, and hot in between. The second is hot
    # before it is cold and never cold again, the third is cold once: no trip is completed.
    trips = round_trips(walks("21012101112", "01210000001", "10100012100"))
    assert trips.number[:, 0].tolist() == [2, 0, 0]
    assert trips.mean_time == 5.0
    assert trips.rate == pytest.approx((4 + 2 + 2) / 2 / 11)  # passages, one way or the other
    two = round_trips(walks("21012", "12102", "22222"))
    assert two.number[:, 0].tolist() == [1, 1, 0]
    assert two.mean_time == (4 + 3) / 2
    none = round_trips(walks("2101", "0012", "1111"))
    assert none.number.sum() == 0
    assert none.rate == 1 / 4  # two passages
    assert round_trips(walks("2111", "1222", "0101")).rate == 0
    assert math.isnan(none.mean_time)


def test_replicas_are_counted_apart() -> None:
    a, b = walks("210121", "101010", "000000"), walks("222222", "012102", "212121")
    trips = round_trips(torch.cat([a, b], dim=2))
    assert trips.number.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert trips.rate == (2 + 3) / 2 / 12
    assert trips.mean_time == (4 + 3) / 2


def test_who_came_from_the_hot_end() -> None:
    # Level 1 is seen without label, from hot, from cold; the other walkers see no end.
    trips = round_trips(walks("101210", "111111", "111111"))
    assert trips.from_hot.tolist() == [1.0, 0.5, 0.0]


def count(walk: list[int], cold: int) -> int:
    trips, stage = 0, "start"
    for level in walk:
        if level == cold:
            trips += stage == "hot"
            stage = "cold"
        elif level == 0 and stage == "cold":
            stage = "hot"
    return trips


def test_many_walks_as_read_from_left_to_right(rng: torch.Generator) -> None:
    level = torch.rand(400, 4, 5, generator=rng).argsort(1)
    walks_in_order = level.flatten(1).T.tolist()
    trips = round_trips(level)
    assert trips.number.flatten().tolist() == [count(walk, 3) for walk in walks_in_order]
    ends = [[v for v in walk if v in (0, 3)] for walk in walks_in_order]
    passages = sum(a != b for visits in ends for a, b in itertools.pairwise(visits))
    assert trips.rate == passages / 2 / (400 * 5)
    # Trips across the joint of two runs are counted only when the histories are joined.
    assert (
        sum(int(round_trips(half).number.sum()) for half in level.split(200)) < trips.number.sum()
    )


@pytest.mark.bad_input
def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="integers"):
        round_trips(torch.zeros(5, 3, 1))
    with pytest.raises(ValueError, match="shape"):
        round_trips(torch.zeros(5, 3, dtype=torch.int64))
    for shape in [(0, 3, 1), (5, 1, 1), (5, 3, 0)]:
        with pytest.raises(ValueError, match="two temperatures"):
            round_trips(torch.zeros(shape, dtype=torch.int64))
