import math

import pytest
import torch
from torch import Tensor

from lecture_pkg.learning import gradient_descent, largest_curvature, quadratic_majorizer

# f(θ) = ½ (θ - c)ᵀ A (θ - c) + d, with eigenvalues that differ and couplings of both signs
A = torch.tensor([[3.0, -0.8, 0.3], [-0.8, 1.0, 0.4], [0.3, 0.4, 0.5]], dtype=torch.float64)
CENTRE = torch.tensor([0.7, -1.2, 2.0], dtype=torch.float64)
START = torch.tensor([-1.0, 0.5, 0.1], dtype=torch.float64)
LARGEST = float(torch.linalg.eigvalsh(A)[-1])


def quadratic(theta: Tensor) -> Tensor:
    move = theta - CENTRE
    return 0.5 * move @ A @ move - 0.25


def softplus(theta: Tensor) -> Tensor:
    """Curvature is σ(θ)(1 - σ(θ)), at most 1/4; the linear part leaves a minimum inside."""
    return torch.nn.functional.softplus(theta) - 0.3 * theta


def point(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_descent_on_a_quadratic_has_a_closed_form() -> None:
    eta, n = 0.9 / LARGEST, 40
    trace = gradient_descent(quadratic, START, eta, n)
    shrink = torch.eye(3, dtype=torch.float64) - eta * A
    for t in range(n + 1):
        expected = CENTRE + torch.linalg.matrix_power(shrink, t) @ (START - CENTRE)
        torch.testing.assert_close(trace.theta[t], expected, rtol=0, atol=1e-13)
        assert float(trace.value[t]) == pytest.approx(float(quadratic(expected)), abs=1e-13)
    assert trace.theta.shape == (n + 1, 3)
    assert not trace.theta.requires_grad


@pytest.mark.parametrize(("factor", "converges"), [(1.0, True), (1.95, True), (2.05, False)])
def test_a_quadratic_converges_exactly_below_twice_the_inverse_curvature(
    factor: float, converges: bool
) -> None:
    trace = gradient_descent(quadratic, START, factor / LARGEST, 400)
    assert bool((trace.theta[-1] - CENTRE).norm() < (START - CENTRE).norm()) is converges


def test_each_coordinate_may_have_its_own_step() -> None:
    steps = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    trace = gradient_descent(quadratic, START, steps, 1)
    expected = START - steps * (A @ (START - CENTRE))
    torch.testing.assert_close(trace.theta[1], expected, rtol=0, atol=1e-14)


def test_a_scalar_parameter_with_the_safe_step_never_goes_up() -> None:
    trace = gradient_descent(softplus, point(6.0), 4.0, 200)
    assert trace.theta.shape == trace.value.shape == (201,)
    assert float((trace.value[1:] - trace.value[:-1]).max()) <= 1e-15
    assert float(trace.theta[-1]) == pytest.approx(math.log(0.3 / 0.7), abs=1e-10)
    slope = torch.sigmoid(trace.theta[:-1]) - 0.3
    guaranteed = trace.value[:-1] - slope**2 / (2 * 0.25)  # equation (2.35)
    assert bool((trace.value[1:] <= guaranteed + 1e-15).all())


def test_a_diverging_descent_is_kept_in_the_trace() -> None:
    trace = gradient_descent(lambda theta: theta**4, point(2.0), 1.0, 20)
    assert not bool(torch.isfinite(trace.value).all())
    assert trace.value[:2].tolist() == pytest.approx([2.0**4, 30.0**4])  # 2 - 4 · 2³ = -30


def test_no_step_is_the_start_alone() -> None:
    trace = gradient_descent(quadratic, START, 0.1, 0)
    assert torch.equal(trace.theta, START[None])


def test_descent_keeps_the_dtype_and_leaves_the_start_alone() -> None:
    start = torch.tensor([[1.0, -2.0]], requires_grad=True)
    trace = gradient_descent(lambda theta: theta.square().sum(), start, 0.25, 3)
    assert trace.theta.dtype == trace.value.dtype == torch.float32
    assert trace.theta[-1].tolist() == [[0.125, -0.25]]
    assert start.tolist() == [[1.0, -2.0]]
    assert start.grad is None


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.2])
def test_the_majorizer_bounds_a_quadratic_just_when_the_step_is_safe(factor: float) -> None:
    bound = quadratic_majorizer(quadratic, START, factor / LARGEST)
    generator = torch.Generator().manual_seed(5)
    steepest = torch.linalg.eigh(A).eigenvectors[:, -1]
    moves = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    theta = START + torch.cat([moves, steepest[None], -2 * steepest[None]])
    gap = bound(theta) - torch.stack([quadratic(t) for t in theta])
    assert float(bound(START)) == pytest.approx(float(quadratic(START)), abs=1e-14)
    if factor <= 1:
        assert float(gap.min()) >= -1e-12
    else:
        assert float(gap[-1]) < -0.1  # broken along the steepest direction


@pytest.mark.parametrize(("step", "holds"), [(4.0, True), (1.0, True), (4.8, False)])
def test_the_majorizer_of_softplus_holds_up_to_four(step: float, holds: bool) -> None:
    start = point(0.0)  # where the curvature is largest
    theta = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    gap = quadratic_majorizer(softplus, start, step)(theta) - softplus(theta)
    assert gap.shape == theta.shape
    assert bool(gap.min() >= -1e-15) is holds


@pytest.mark.parametrize("step", [0.2, torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)])
def test_the_majorizer_is_least_where_one_step_of_descent_leads(step: float | Tensor) -> None:
    bound = quadratic_majorizer(quadratic, START, step)
    slope = A @ (START - CENTRE)
    lowest = START - step * slope
    (gradient,) = torch.autograd.grad(bound(lowest.requires_grad_()), lowest)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-13)
    expected = quadratic(START) - 0.5 * (step * slope**2).sum()
    assert float(bound(lowest).detach()) == pytest.approx(float(expected), abs=1e-13)


def test_largest_curvature() -> None:
    assert float(largest_curvature(quadratic, START)) == pytest.approx(LARGEST, rel=1e-13)
    concave = largest_curvature(lambda theta: -quadratic(theta), START)
    assert float(concave) == pytest.approx(-float(torch.linalg.eigvalsh(A)[0]), rel=1e-12)
    for theta in (-1.3, 0.0, 2.1):
        sigma = 1 / (1 + math.exp(-theta))
        found = float(largest_curvature(softplus, point(theta)))
        assert found == pytest.approx(sigma * (1 - sigma), rel=1e-12)
    flat = START.reshape(1, 3)
    as_matrix = largest_curvature(lambda theta: quadratic(theta.reshape(3)), flat)
    assert float(as_matrix) == pytest.approx(LARGEST, rel=1e-13)


@pytest.mark.bad_input
def test_bad_points_and_steps_are_refused() -> None:
    with pytest.raises(TypeError, match=r"theta0 must be a torch.Tensor.*float"):
        gradient_descent(softplus, 1.0, 0.1, 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"theta0 must hold floating-point"):
        quadratic_majorizer(softplus, torch.tensor(1), 0.1)
    with pytest.raises(ValueError, match=r"theta0 must be finite"):
        gradient_descent(softplus, point(math.nan), 0.1, 5)
    with pytest.raises(ValueError, match=r"theta must be finite"):
        largest_curvature(softplus, point(math.inf))
    for step in (0.0, -0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"step must be positive and finite"):
            gradient_descent(softplus, point(1.0), step, 5)
    with pytest.raises(ValueError, match=r"step must be one number or have the shape \(3,\)"):
        quadratic_majorizer(quadratic, START, torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"n_steps must be at least 0"):
        gradient_descent(softplus, point(1.0), 0.1, -1)
    with pytest.raises(TypeError, match=r"n_steps must be an integer"):
        gradient_descent(softplus, point(1.0), 0.1, 5.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"theta must end in the shape \(3,\)"):
        quadratic_majorizer(quadratic, START, 0.1)(torch.zeros(3, 2, dtype=torch.float64))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "run",
    [lambda f: gradient_descent(f, START, 0.1, 3), lambda f: quadratic_majorizer(f, START, 0.1)],
)
def test_functions_that_cannot_be_differentiated_are_refused(run) -> None:
    with pytest.raises(ValueError, match=r"f must return a scalar tensor, but it returned \(3,\)"):
        run(lambda theta: theta**2)
    with pytest.raises(ValueError, match=r"f must return a scalar tensor, but it returned float"):
        run(lambda theta: float(theta.detach().sum()))
    with pytest.raises(ValueError, match=r"carries no gradient; avoid .item"):
        run(lambda theta: theta.detach().sum())


@pytest.mark.bad_input
def test_curvature_of_a_vector_function_is_refused() -> None:
    with pytest.raises(ValueError, match=r"f must return a scalar tensor"):
        largest_curvature(lambda theta: theta, START)
