"""Small square pictures side by side."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from lecture_pkg._checks import require_shape, require_tensor


def show_images(
    x: Float[Tensor, "n pixels"],
    *,
    columns: int = 10,
    titles: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    scale: float = 0.62,
) -> Figure:
    """Draw each row of `x` as a square picture, dark where the value is large.

    Args:
        x: n pictures of side² pixels, row by row.
        columns: pictures in one line.
        titles: one short title a picture.
        value_range: values drawn white and black; the smallest and largest of `x` by default.
        scale: width of one picture in inches.

    Returns:
        The figure.

    Raises:
        ValueError: if the number of pixels is not a square.
    """
    require_shape(require_tensor(x, "x"), (None, None), "x")
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise ValueError(
            f"x must hold square pictures, but a row has {x.shape[1]} pixels; "
            "the number of pixels must be a square such as 16 or 64."
        )
    pictures = x.detach().cpu().reshape(-1, side, side).numpy()
    low, high = value_range or (pictures.min(), pictures.max())
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    height = scale * (1.35 if titles else 1.06)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * scale, rows * height), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for index, (axis, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
        axis.imshow(picture, cmap="gray_r", vmin=low, vmax=high)
        axis.add_patch(
            plt.Rectangle((-0.5, -0.5), side, side, fill=False, edgecolor="#999999", linewidth=0.8)
        )
        if titles:
            axis.set_title(titles[index], fontsize="x-small", pad=2)
    return figure
