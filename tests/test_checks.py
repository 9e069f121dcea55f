"""The refusals that all doors share, seen through the doors: no test here imports the helpers."""

import pytest
import torch

from lecture_pkg.data import bars_and_stripes, digits, empirical_distribution
from lecture_pkg.evaluation import entropy
from lecture_pkg.learning import ExactLikelihood, gradient_descent
from lecture_pkg.models import BoltzmannMachine

pytestmark = pytest.mark.bad_input


def machine(units: str) -> BoltzmannMachine:
    J = torch.tensor([[0.0, 0.4], [0.4, 0.0]], dtype=torch.float64)
    return BoltzmannMachine(J, torch.tensor([0.1, -0.3], dtype=torch.float64), units=units)


@pytest.mark.parametrize("value", [[0.5, 0.5], 1.0, None])
def test_what_is_no_tensor_is_named_with_its_type_and_the_conversion(value: object) -> None:
    kind = type(value).__name__
    with pytest.raises(TypeError, match=rf"p must be a torch.Tensor.*{kind}.*torch.as_tensor\(p\)"):
        entropy(value)  # type: ignore[arg-type]


def test_integers_where_real_numbers_are_due_are_named_with_the_conversion() -> None:
    with pytest.raises(TypeError, match=r"dtype is torch.int64.*p.to\(torch.float64\)"):
        entropy(torch.tensor([1, 0]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_entries_that_are_not_finite_are_counted(bad: float) -> None:
    x = torch.tensor([[1.0, bad, 3.0], [bad, 0.0, 1.0]])
    with pytest.raises(
        ValueError, match=r"x must be finite, but 2 of its 6 entries are NaN or inf"
    ):
        empirical_distribution(x)


def test_a_wrong_shape_is_shown_beside_the_right_one() -> None:
    x = torch.zeros(3, 4, 5)
    with pytest.raises(ValueError, match=r"x must have shape \(\*, \*\).*is \(3, 4, 5\)"):
        empirical_distribution(x)


def test_probabilities_are_measured_row_by_row() -> None:
    rows = torch.tensor([[0.5, 0.5], [0.3, 0.69]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"p must sum to one, but its sum is 0.99"):
        entropy(rows)
    with pytest.raises(ValueError, match=r"p must be non-negative.*-0.2"):
        entropy(torch.tensor([1.2, -0.2]))


def test_rounding_of_the_dtype_is_no_offence() -> None:
    single = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    assert entropy(single / single.sum()).isfinite()
    with pytest.raises(ValueError, match=r"p must sum to one"):
        entropy(torch.tensor([0.5, 0.5 + 1e-6], dtype=torch.float64))


@pytest.mark.parametrize("n", [True, 2.0, "3", None])
def test_a_count_is_an_integer(n: object) -> None:
    with pytest.raises(TypeError, match=rf"side must be an integer, but a {type(n).__name__}"):
        bars_and_stripes(n)  # type: ignore[arg-type]


def test_a_count_has_a_least_value() -> None:
    with pytest.raises(ValueError, match=r"side must be at least 1, but -2 was given"):
        bars_and_stripes(-2)
    with pytest.raises(ValueError, match=r"n_steps must be at least 0, but -1 was given"):
        gradient_descent(lambda theta: theta**2, torch.tensor(1.0), 0.1, -1)


@pytest.mark.parametrize("door", [lambda units: bars_and_stripes(2, units), digits, machine])
def test_an_unknown_unit_convention_is_quoted_beside_the_known_ones(door) -> None:
    with pytest.raises(ValueError, match=r'units must be "spin".*"binary".*not \'ising\''):
        door("ising")


@pytest.mark.parametrize(
    ("units", "given", "conversion"),
    [("spin", [0.0, 1.0], r"2 \* x - 1"), ("binary", [-1.0, 1.0], r"\(x \+ 1\) / 2")],
)
def test_units_of_the_other_convention_are_refused_with_the_conversion(
    units: str, given: list[float], conversion: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"x must hold {units} values.*convert it with {conversion}"
    ):
        ExactLikelihood()(machine(units), torch.tensor([given], dtype=torch.float64))


def test_values_of_neither_convention_are_shown() -> None:
    x = torch.tensor([[1.0, 0.25]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"x must hold spin values.*other values such as 0.25"):
        ExactLikelihood()(machine("spin"), x)
    with pytest.raises(ValueError, match=r"x must be finite"):
        ExactLikelihood()(machine("spin"), x * torch.nan)
