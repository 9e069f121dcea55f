"""Densities over the plane."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from torch import Tensor


def density_2d(
    axis: Axes,
    log_prob: Callable[[Float[Tensor, "n 2"]], Float[Tensor, "n"]],
    extent: tuple[float, float, float, float],
    *,
    resolution: int = 160,
    filled: bool = True,
) -> None:
    """Draw a density over the plane as shades, or as contour lines when `filled` is false.

    Args:
        axis: where to draw.
        log_prob: log density in nats.
        extent: left, right, bottom, top.
        resolution: grid points along each side.
        filled: shades (true) or contour lines (false).
    """
    left, right, bottom, top = extent
    horizontal = torch.linspace(left, right, resolution, dtype=torch.float64)
    vertical = torch.linspace(bottom, top, resolution, dtype=torch.float64)
    grid = torch.cartesian_prod(vertical, horizontal).flip(1)  # (resolution², 2), x first
    with torch.no_grad():
        density = log_prob(grid).exp().reshape(resolution, resolution).numpy()
    if filled:
        axis.imshow(density, extent=extent, origin="lower", aspect="auto", cmap="Blues")
    else:
        axis.contour(horizontal, vertical, density, levels=6, colors="#1a1a1a", linewidths=0.9)
    axis.grid(False)


def covariance_ellipse(
    axis: Axes,
    mean: Float[Tensor, "2"],
    cov: Float[Tensor, "2 2"],
    *,
    color: str,
    radius: float = 2.0,
) -> Ellipse:
    """Draw the line of Mahalanobis distance `radius` around the mean and return it."""
    eigenvalues, eigenvectors = torch.linalg.eigh(cov.detach())
    width, height = (2 * radius * eigenvalues.sqrt()).tolist()
    angle = math.degrees(math.atan2(eigenvectors[1, 0], eigenvectors[0, 0]))
    ellipse = Ellipse(
        (float(mean[0]), float(mean[1])),
        width,
        height,
        angle=angle,
        fill=False,
        edgecolor=color,
        linewidth=2,
    )
    axis.add_patch(ellipse)
    return ellipse
