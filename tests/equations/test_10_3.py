"""Section 10.3: the determinant, its cofactors and its logarithm."""

from itertools import permutations

import pytest
import sympy
import torch

A = torch.tensor([[2.0, 1.0, 3.0], [1.0, 3.0, 2.0], [1.0, 1.0, 4.0]], dtype=torch.float64)
SINGULAR = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], dtype=torch.float64)
RANK_ONE = torch.tensor([[1.0, 2.0, -1.0], [2.0, 4.0, -2.0], [3.0, 6.0, -3.0]], dtype=torch.float64)


def leibniz(a: torch.Tensor) -> torch.Tensor:
    """Sum over permutations: the definition, exact for small integers."""
    n = len(a)
    total = torch.zeros((), dtype=a.dtype)
    for order in permutations(range(n)):
        inversions = sum(order[i] > order[j] for i in range(n) for j in range(i + 1, n))
        term = torch.ones((), dtype=a.dtype)
        for i in range(n):
            term = term * a[i, order[i]]
        total = total + (-1) ** inversions * term
    return total


def minor(a: torch.Tensor, i: int, j: int) -> torch.Tensor:
    keep = torch.arange(len(a))
    return leibniz(a[keep != i][:, keep != j])


def cofactors(a: torch.Tensor) -> torch.Tensor:
    n = len(a)
    return torch.stack(
        [torch.stack([(-1) ** (i + j) * minor(a, i, j) for j in range(n)]) for i in range(n)]
    )


def entry(n: int, i: int, j: int) -> torch.Tensor:
    e = torch.zeros(n, n, dtype=torch.float64)
    e[i, j] = 1.0
    return e


@pytest.mark.equation("10.5")
def test_expansion_along_every_column_and_row(rng: torch.Generator) -> None:
    for n in (2, 3, 4, 5):
        a = torch.randint(-4, 5, (n, n), generator=rng).double()
        truth = leibniz(a)
        torch.testing.assert_close(torch.linalg.det(a), truth, rtol=0, atol=1e-9)
        for j in range(n):
            assert sum((-1) ** (i + j) * a[i, j] * minor(a, i, j) for i in range(n)) == truth
            assert sum((-1) ** (j + i) * a[j, i] * minor(a, j, i) for i in range(n)) == truth


@pytest.mark.equation("10.5")
def test_foreign_cofactors_give_zero_and_own_ones_the_determinant() -> None:
    adjugate = cofactors(A).T
    expected = torch.tensor([[10.0, -1, -7], [-2, 5, -1], [-2, -1, 5]], dtype=torch.float64)
    assert torch.equal(adjugate, expected)  # the worked case of the book
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.equal(A @ adjugate, 12 * identity)
    assert torch.equal(adjugate @ A, 12 * identity)


@pytest.mark.equation("10.6")
def test_derivative_of_the_determinant_symbolically() -> None:
    n = 4
    matrix = sympy.Matrix(n, n, lambda i, j: sympy.Symbol(f"a{i}{j}"))
    determinant = matrix.det(method="berkowitz")
    for i in range(n):
        for j in range(n):
            rest = matrix.copy()
            rest.row_del(i)
            rest.col_del(j)
            cofactor = (-1) ** (i + j) * rest.det(method="berkowitz")
            assert sympy.expand(sympy.diff(determinant, matrix[i, j]) - cofactor) == 0


@pytest.mark.equation("10.6")
@pytest.mark.parametrize("a", [A, SINGULAR, RANK_ONE], ids=["regular", "rank 2", "rank 1"])
def test_derivative_of_the_determinant_by_autograd_and_differences(a: torch.Tensor) -> None:
    expected = cofactors(a)
    assert torch.equal(torch.func.grad(leibniz)(a), expected)
    torch.testing.assert_close(torch.func.grad(torch.linalg.det)(a), expected, rtol=0, atol=1e-10)
    for i in range(3):
        for j in range(3):  # linear in one entry: a step of one is exact
            assert leibniz(a + entry(3, i, j)) - leibniz(a) == expected[i, j]


@pytest.mark.equation("10.7")
def test_derivative_of_the_log_determinant(rng: torch.Generator) -> None:
    a = torch.randn(5, 5, generator=rng, dtype=torch.float64)
    if torch.linalg.det(a) < 0:
        a = a[[1, 0, 2, 3, 4]]  # an exchange of two rows turns the sign
    assert torch.linalg.det(a) > 0
    assert (a - a.T).abs().max() > 0.1
    expected = torch.linalg.inv(a).T
    torch.testing.assert_close(cofactors(a) / leibniz(a), expected, rtol=1e-9, atol=1e-10)
    gradient = torch.func.grad(lambda m: leibniz(m).log())(a)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-10)
    h = 1e-5
    for i in range(5):
        for j in range(5):
            above, below = (leibniz(a + s * entry(5, i, j)).log() for s in (h, -h))
            torch.testing.assert_close(
                (above - below) / (2 * h), expected[i, j], rtol=1e-6, atol=1e-6
            )
    assert not torch.allclose(gradient, expected.T, atol=1e-2)  # the transpose matters


@pytest.mark.equation("10.7")
def test_negative_determinant_needs_the_absolute_value() -> None:
    a = A[[1, 0, 2]]
    assert leibniz(a) == -12
    assert leibniz(a).log().isnan()
    gradient = torch.func.grad(lambda m: leibniz(m).abs().log())(a)
    torch.testing.assert_close(gradient, torch.linalg.inv(a).T, rtol=0, atol=1e-12)


@pytest.mark.equation("10.8")
def test_log_determinant_of_the_covariance_as_a_function_of_its_inverse() -> None:
    cov = A @ A.T / 4
    precision = torch.linalg.inv(cov)

    def log_det_cov(m: torch.Tensor) -> torch.Tensor:
        return leibniz(torch.linalg.inv(m)).log()

    gradient = torch.func.grad(log_det_cov)(precision)
    torch.testing.assert_close(gradient, -cov, rtol=1e-9, atol=1e-9)
    h = 1e-5
    for i in range(3):
        for j in range(3):
            above, below = (log_det_cov(precision + s * entry(3, i, j)) for s in (h, -h))
            torch.testing.assert_close((above - below) / (2 * h), -cov[i, j], rtol=1e-5, atol=1e-5)


@pytest.mark.equation("10.8")
def test_first_equality_holds_without_symmetry() -> None:
    precision = torch.linalg.inv(A)
    gradient = torch.func.grad(lambda m: -leibniz(m).log())(precision)
    torch.testing.assert_close(gradient, -A.T, rtol=1e-10, atol=1e-10)
    assert not torch.allclose(gradient, -A)


@pytest.mark.equation("10.8")
def test_formula_symbolically_with_six_parameters() -> None:
    """Symmetric parametrisation: off the diagonal the table holds twice the entry."""
    p = sympy.symbols("p:6")
    precision = sympy.Matrix([[p[0], p[1], p[2]], [p[1], p[3], p[4]], [p[2], p[4], p[5]]])
    cov = precision.inv()
    for k, (i, j) in enumerate([(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]):
        derivative = sympy.diff(-sympy.log(precision.det()), p[k])
        factor = 1 if i == j else 2
        assert sympy.simplify(derivative + factor * cov[i, j]) == 0
