"""What would take too long or too much memory is refused before it is spent."""

import math
import time

import psutil
import pytest
import torch

from lecture_pkg import exact
from lecture_pkg.exact import _three_way_split
from lecture_pkg.models import BoltzmannMachine


def random_model(n, rng, units="spin", scale=1.0, dtype=torch.float64):
    J = scale * torch.randn(n, n, dtype=torch.float64, generator=rng).triu(1)
    h = torch.randn(n, dtype=torch.float64, generator=rng)
    return BoltzmannMachine((J + J.T).to(dtype), h.to(dtype), units)


class TableModel:
    """An energy that no pair of units can express: one number for each state."""

    def __init__(self, table, units):
        self.table, self.units, self.n_units = table, units, int(math.log2(len(table)))

    def energy(self, x):
        digits = ((x + 1) / 2 if self.units == "spin" else x).long()
        return self.table[digits @ (2 ** torch.arange(self.n_units - 1, -1, -1))]


@pytest.mark.bad_input
def test_more_time_than_allowed_is_refused_with_the_estimate(rng):
    with pytest.raises(ValueError, match=r"2\^40 states: about \d+ s of work.*time_limit of 1 s"):
        exact.log_partition(random_model(40, rng), time_limit=1)
    with pytest.raises(ValueError, match=r"2\^40 states.*time_limit"):
        exact.moments(random_model(40, rng), time_limit=1)
    slow = TableModel(torch.zeros(2**20, dtype=torch.float64), "spin")
    for call in (exact.log_partition, exact.moments, exact.probabilities):
        with pytest.raises(ValueError, match=r"2\^20 states.*time_limit"):
            call(slow, time_limit=1e-6)


@pytest.mark.bad_input
def test_more_memory_than_there_is_is_refused_with_the_estimate(rng):
    available = psutil.virtual_memory().available
    n = math.ceil(math.log2(available)) - 4  # 32 bytes for each state are more than that
    for call in (
        lambda: exact.states(n, "spin"),
        lambda: exact.probabilities(random_model(n, rng)),
    ):
        with pytest.raises(ValueError, match=rf"2\^{n} states.*GiB of memory.*available"):
            call()
    with pytest.raises(ValueError, match="GiB of memory"):
        exact.log_partition(random_model(60, rng), time_limit=math.inf)


@pytest.mark.bad_input
@pytest.mark.parametrize("n", [200, 2000])
def test_hopeless_sizes_are_refused_at_once(n, rng):
    """No table is built and no float overflows on the way to the refusal."""
    quadratic = random_model(n, rng)
    general = TableModel(torch.zeros(2, dtype=torch.float64), "spin")
    general.n_units = n
    general.energy = lambda x: pytest.fail("no state is worth a trial")
    with pytest.raises(ValueError, match=rf"2\^{n} states: more than 10\^\d+ GiB of memory"):
        exact.states(n, "spin")
    for model in (quadratic, general):
        with pytest.raises(ValueError, match=r"more than 10\^\d+ GiB of memory"):
            exact.probabilities(model)
        for call in (exact.log_partition, exact.moments):
            start = time.perf_counter()
            with pytest.raises(ValueError, match=rf"2\^{n} states: more than 10\^\d+ (s|GiB) of"):
                call(model, time_limit=math.inf)
            assert time.perf_counter() - start < 1.0
    with pytest.raises(ValueError, match=r"more than 10\^\d+ (s|GiB) of"):
        exact.log_likelihood(quadratic, torch.ones(2, n))


@pytest.mark.bad_input
def test_the_limit_reported_is_the_one_that_was_set():
    slow = TableModel(torch.zeros(2**20, dtype=torch.float64), "spin")
    with pytest.raises(ValueError, match=r"time_limit of 6e-06 s"):
        exact.moments(slow, time_limit=6e-6)


@pytest.mark.bad_input
def test_the_second_pass_obeys_the_time_limit_too(rng, monkeypatch):
    monkeypatch.setattr(_three_way_split, "_LOG_SMALLEST", 700.0)  # every row is in doubt
    with pytest.raises(ValueError, match="time_limit"):
        exact.log_partition(random_model(20, rng), time_limit=1e-3)
