import pytest
import torch

from lecture_pkg.evaluation.finite_differences import central_difference


def test_gradient_of_a_function_whose_derivative_is_known() -> None:
    x = torch.tensor([[0.3, -1.2, 2.0], [0.7, 0.1, -0.4]], dtype=torch.float64)
    measured = central_difference(lambda t: t[0].sin().sum() + (t[1] ** 3).sum(), x)
    expected = torch.stack([x[0].cos(), 3 * x[1] ** 2])
    torch.testing.assert_close(measured, expected, rtol=0, atol=1e-9)


def test_truncation_error_of_a_cubic_is_the_square_of_the_step() -> None:
    x = torch.tensor(1.5, dtype=torch.float64)
    for step in (0.5, 0.25):
        error = central_difference(lambda t: t**3, x, step=step) - 3 * x**2
        torch.testing.assert_close(error.item(), step**2, rtol=1e-12, atol=0)


def test_keeps_shape_and_dtype_and_leaves_x_alone() -> None:
    x = torch.arange(3.0).requires_grad_()
    gradient = central_difference(lambda t: (t**2).sum(), x, step=1.0)
    assert gradient.dtype == torch.float32
    assert not gradient.requires_grad
    torch.testing.assert_close(gradient, 2 * x.detach())
    assert x.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.bad_input
def test_refuses_what_has_no_gradient() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with pytest.raises(TypeError, match="floating-point"):
        central_difference(torch.sum, torch.ones(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="finite"):
        central_difference(torch.sum, x / 0)
    with pytest.raises(ValueError, match="step must be positive"):
        central_difference(torch.sum, x, step=0.0)
    with pytest.raises(ValueError, match="shape"):
        central_difference(lambda t: t, x)
