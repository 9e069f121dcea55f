"""Section 10.2: the derivative with respect to a matrix, free or symmetric."""

import pytest
import sympy
import torch

X = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
LOWER = torch.tril_indices(3, 3)


def symmetric(parameters: torch.Tensor) -> torch.Tensor:
    """Fill a symmetric 3x3 matrix from the six entries on and below its diagonal."""
    row, column = LOWER
    lower = torch.zeros(3, 3, dtype=parameters.dtype).index_put((row, column), parameters)
    return lower + lower.tril(-1).T


@pytest.mark.equation("10.3")
def test_entries_symbolically() -> None:
    n = 3
    matrix = sympy.Matrix(n, n, lambda i, j: sympy.Symbol(f"a{i}{j}"))
    x = sympy.Matrix(sympy.symbols(f"x:{n}"))
    form = (x.T * matrix * x)[0]
    assert sympy.expand(form - (matrix * x * x.T).trace()) == 0
    for i in range(n):
        for j in range(n):
            derivative = sympy.diff(form, matrix[i, j])
            assert derivative == x[j] * x[i]
            assert derivative == (x * x.T).T[i, j]


@pytest.mark.equation("10.4")
def test_free_matrix_against_autograd_and_differences(rng: torch.Generator) -> None:
    a = torch.randint(-3, 4, (3, 3), generator=rng).double()
    expected = torch.outer(X, X)
    assert torch.equal(torch.func.grad(lambda m: X @ m @ X)(a), expected)
    for i in range(3):
        for j in range(3):  # linear in A: a step of one is exact
            step = torch.zeros_like(a)
            step[i, j] = 1.0
            assert X @ (a + step) @ X - X @ a @ X == expected[i, j]


@pytest.mark.equation("10.4")
def test_order_of_the_factors_on_a_form_that_is_not_square(rng: torch.Generator) -> None:
    u = torch.tensor([2.0, -1.0], dtype=torch.float64)
    a = torch.randn(2, 3, generator=rng, dtype=torch.float64)
    gradient = torch.func.grad(lambda m: u @ m @ X)(a)
    assert torch.equal(gradient, torch.outer(u, X))
    assert gradient.shape == a.shape


@pytest.mark.equation("10.4")
def test_symmetric_matrix_has_the_same_differential(rng: torch.Generator) -> None:
    """With six parameters the gradient is 2G - diag(G); along a symmetric step both agree."""
    parameters = torch.randn(6, generator=rng, dtype=torch.float64)
    free = torch.outer(X, X)
    by_parameters = torch.func.grad(lambda p: X @ symmetric(p) @ X)(parameters)
    table = 2 * free - torch.diag(free.diagonal())
    torch.testing.assert_close(by_parameters, table[*LOWER], rtol=0, atol=1e-12)
    assert not torch.allclose(by_parameters, free[*LOWER])

    step = torch.randn(6, generator=rng, dtype=torch.float64)
    change = X @ symmetric(parameters + step) @ X - X @ symmetric(parameters) @ X
    torch.testing.assert_close((free * symmetric(step)).sum(), change, rtol=0, atol=1e-11)
    torch.testing.assert_close(by_parameters @ step, change, rtol=0, atol=1e-11)


@pytest.mark.equation("10.4")
def test_both_gradients_vanish_together(rng: torch.Generator) -> None:
    """The stationary point of the Gaussian divergence does not depend on the convention."""
    data = torch.randn(40, 3, generator=rng, dtype=torch.float64) @ torch.tensor(
        [[1.0, 0.5, -0.2], [0.0, 0.7, 0.4], [0.0, 0.0, 1.3]], dtype=torch.float64
    )
    scatter = data.T @ data / len(data)

    def divergence(precision: torch.Tensor) -> torch.Tensor:
        return ((scatter * precision).sum() - torch.logdet(precision)) / 2

    def by_parameters(p: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda q: divergence(symmetric(q)))(p)

    solution = torch.linalg.inv(scatter)
    away = solution + 0.1 * torch.eye(3, dtype=torch.float64)
    assert torch.func.grad(divergence)(solution).abs().max() < 1e-10
    assert by_parameters(solution[*LOWER]).abs().max() < 1e-10
    assert torch.func.grad(divergence)(away).abs().max() > 1e-3
    assert by_parameters(away[*LOWER]).abs().max() > 1e-3
