"""Section 10.1: the gradient of a quadratic form."""

import pytest
import sympy
import torch

A = torch.tensor([[2.0, 1.0, -1.0], [3.0, 1.0, 0.0], [1.0, 4.0, -3.0]], dtype=torch.float64)
X = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)


@pytest.mark.equation("10.1")
def test_quadratic_form_symbolically() -> None:
    n = 4
    matrix = sympy.Matrix(n, n, lambda i, j: sympy.Symbol(f"a{i}{j}"))
    x = sympy.Matrix(sympy.symbols(f"x:{n}"))
    form = (x.T * matrix * x)[0]
    assert sympy.expand(form - (matrix * x * x.T).trace()) == 0
    double_sum = sum(matrix[k, m] * x[m] * x[k] for k in range(n) for m in range(n))
    assert sympy.expand(form - double_sum) == 0
    for i in range(n):
        derivative = sympy.diff(form, x[i])
        two_sums = sum(matrix[k, i] * x[k] for k in range(n)) + sum(
            matrix[i, m] * x[m] for m in range(n)
        )
        assert sympy.expand(derivative - two_sums) == 0
        assert sympy.expand(derivative - ((matrix + matrix.T) * x)[i]) == 0


@pytest.mark.equation("10.1")
def test_quadratic_form_against_autograd_and_differences(rng: torch.Generator) -> None:
    gradient = (A + A.T) @ X
    x = X.clone().requires_grad_()
    (x @ A @ x).backward()
    torch.testing.assert_close(x.grad, gradient, rtol=0, atol=1e-12)
    # The difference over a whole unit step is exact: the even terms cancel.
    unit = torch.eye(3, dtype=torch.float64)
    differences = [((X + e) @ A @ (X + e) - (X - e) @ A @ (X - e)) / 2 for e in unit]
    assert torch.equal(torch.stack(differences), gradient)
    assert not torch.allclose(2 * A @ X, gradient)  # the short form needs a symmetric matrix

    large = torch.randn(7, 7, generator=rng, dtype=torch.float64)
    x = torch.randn(7, generator=rng, dtype=torch.float64, requires_grad=True)
    (x @ large @ x).backward()
    torch.testing.assert_close(x.grad, (large + large.T) @ x.detach(), rtol=0, atol=1e-12)


@pytest.mark.equation("10.2")
def test_symmetric_form_symbolically() -> None:
    n = 3
    cov = sympy.Matrix(n, n, lambda i, j: sympy.Symbol(f"s{min(i, j)}{max(i, j)}"))
    x = sympy.Matrix(sympy.symbols(f"x:{n}"))
    precision = cov.inv()
    form = (x.T * precision * x)[0]
    for i in range(n):
        assert sympy.simplify(sympy.diff(form, x[i]) - (2 * precision * x)[i]) == 0


@pytest.mark.equation("10.2")
def test_symmetric_form_against_autograd_and_differences() -> None:
    cov = A @ A.T + torch.eye(3, dtype=torch.float64)

    def form(x: torch.Tensor) -> torch.Tensor:
        return x @ torch.linalg.solve(cov, x)

    expected = 2 * torch.cholesky_solve(X[:, None], torch.linalg.cholesky(cov))[:, 0]
    torch.testing.assert_close(torch.func.grad(form)(X), expected, rtol=0, atol=1e-10)
    unit = torch.eye(3, dtype=torch.float64)
    differences = torch.stack([(form(X + e) - form(X - e)) / 2 for e in unit])
    torch.testing.assert_close(differences, expected, rtol=0, atol=1e-10)


@pytest.mark.equation("10.2")
def test_the_inverse_must_be_symmetric() -> None:
    lopsided = A + 3 * torch.eye(3, dtype=torch.float64)

    def form(x: torch.Tensor) -> torch.Tensor:
        return x @ torch.linalg.solve(lopsided, x)

    gradient = torch.func.grad(form)(X)
    assert not torch.allclose(gradient, 2 * torch.linalg.solve(lopsided, X), atol=1e-3)
    symmetrised = torch.linalg.solve(lopsided, X) + torch.linalg.solve(lopsided.T, X)
    torch.testing.assert_close(gradient, symmetrised, rtol=0, atol=1e-12)
