"""Figures and animations: one look for the whole book."""

from lecture_pkg.plotting.animation import animate
from lecture_pkg.plotting.density import covariance_ellipse, density_2d
from lecture_pkg.plotting.images import show_images
from lecture_pkg.plotting.style import COLORS, use_style

__all__ = [
    "COLORS",
    "animate",
    "covariance_ellipse",
    "density_2d",
    "show_images",
    "use_style",
]
