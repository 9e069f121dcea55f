import pytest
import torch

from lecture_pkg.data import bars_and_stripes


def _brute_force(side: int) -> set[tuple[int, ...]]:
    """Keep, of all 2^(side²) images, those whose rows or whose columns are each constant."""
    n = side * side
    bits = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
    image = bits.reshape(-1, side, side)
    rows = (image == image[:, :, :1]).all(2).all(1)
    columns = (image == image[:, :1, :]).all(2).all(1)
    return {tuple(row) for row in bits[rows | columns].tolist()}


@pytest.mark.parametrize(("side", "count"), [(1, 2), (2, 6), (3, 14), (4, 30)])
def test_they_are_what_filtering_all_images_leaves(side: int, count: int) -> None:
    x = bars_and_stripes(side)
    assert x.dtype == torch.float64
    assert x.shape == (count, side * side)
    assert {tuple(row) for row in x.int().tolist()} == _brute_force(side)  # count = distinct rows


def test_the_order_of_side_two() -> None:
    listed = ["".join(str(int(v)) for v in row) for row in bars_and_stripes(2)]
    assert listed == ["0000", "0011", "1100", "1111", "0101", "1010"]


def test_spin_units_are_the_same_images() -> None:
    assert torch.equal(bars_and_stripes(3, units="spin"), 2 * bars_and_stripes(3) - 1)


@pytest.mark.bad_input
def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match=r"side must be an integer.*float"):
        bars_and_stripes(4.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"side must be at least 1"):
        bars_and_stripes(0)
    with pytest.raises(ValueError, match=r"side must be at most 16"):
        bars_and_stripes(17)
    with pytest.raises(ValueError, match=r"units must be .spin.*not 'ising'"):
        bars_and_stripes(4, units="ising")
