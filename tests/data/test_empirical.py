from collections import Counter

import pytest
import torch

from lecture_pkg.data import empirical_distribution

DATA = torch.tensor(
    [[1.0, 0.0, 2.5], [0.0, -1.0, 3.0], [1.0, 0.0, 2.5], [1.0, 0.0, 2.5], [0.0, -1.0, -3.0]],
    dtype=torch.float64,
)


def test_distinct_rows_with_their_frequencies() -> None:
    p0 = empirical_distribution(DATA)
    found = dict(zip(map(tuple, p0.support.tolist()), p0.counts.tolist(), strict=True))
    assert found == Counter(map(tuple, DATA.tolist()))
    assert p0.probabilities.tolist() == pytest.approx([0.2, 0.2, 0.6], abs=1e-15)


@pytest.mark.equation("1.1")
def test_probability_is_the_mean_of_kronecker_deltas() -> None:
    generator = torch.Generator().manual_seed(3)
    data = torch.randint(0, 3, (40, 2), generator=generator)
    queries = torch.cartesian_prod(torch.arange(-1, 4), torch.arange(-1, 4))
    deltas = (queries[:, None, :] == data[None, :, :]).all(-1).double()  # (query, datum)
    p0 = empirical_distribution(data)
    torch.testing.assert_close(p0.probability(queries), deltas.mean(1), rtol=0, atol=1e-15)
    assert float(p0.probability(queries).sum()) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.equation("1.1")
def test_expectation_is_the_mean_over_the_data() -> None:
    p0 = empirical_distribution(DATA)
    outer = p0.expectation(lambda x: x[:, :, None] * x[:, None, :])
    torch.testing.assert_close(outer, DATA.T @ DATA / 5, rtol=0, atol=1e-14)
    cubes = p0.expectation(lambda x: (x**3).sum(1))
    assert float(cubes) == pytest.approx(float((DATA**3).sum() / 5), abs=1e-13)


def test_samples_follow_the_frequencies(rng: torch.Generator) -> None:
    p0, n = empirical_distribution(DATA), 200_000
    draws = empirical_distribution(p0.sample(n, rng=rng))
    assert torch.equal(draws.support, p0.support)
    z = (draws.counts - n * p0.probabilities) / (
        n * p0.probabilities * (1 - p0.probabilities)
    ).sqrt()
    # three binomial counts, each beyond 5.5 standard deviations with probability 4e-8
    assert float(z.abs().max()) < 5.5


def test_dtype_is_kept_and_integers_count_in_float64() -> None:
    assert empirical_distribution(DATA.float()).probabilities.dtype == torch.float32
    integers = empirical_distribution(DATA.long())
    assert integers.support.dtype == torch.int64
    assert integers.probabilities.dtype == torch.float64
    halves = torch.tensor([[1.0, 0.0, 2.0], [1.0, 0.5, 2.0]])
    assert integers.probability(halves).tolist() == pytest.approx([0.6, 0.0])


def test_negative_zero_is_zero() -> None:
    p0 = empirical_distribution(torch.tensor([[0.0], [-0.0], [1.0]]))
    assert p0.counts.tolist() == [2, 1]
    assert p0.probability(torch.tensor([[-0.0]])).tolist() == pytest.approx([2 / 3])


@pytest.mark.bad_input
def test_bad_input_is_refused() -> None:
    p0 = empirical_distribution(DATA)
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor.*ndarray"):
        empirical_distribution(DATA.numpy())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"x must have shape \(\*, \*\)"):
        empirical_distribution(DATA[0])
    with pytest.raises(ValueError, match=r"at least one sample"):
        empirical_distribution(DATA[:0])
    with pytest.raises(ValueError, match=r"x must be finite.*1 of its 2"):
        empirical_distribution(torch.tensor([[float("nan"), 1.0]]))
    with pytest.raises(ValueError, match=r"x must have shape \(\*, 3\)"):
        p0.probability(DATA[:, :2])
    with pytest.raises(ValueError, match=r"n must be at least 1"):
        p0.sample(0, rng=torch.Generator())
    with pytest.raises(TypeError, match=r"n must be an integer"):
        p0.sample(2.0, rng=torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"f must return one value for each of the 3 rows"):
        p0.expectation(lambda x: x.sum())
