"""The real 8×8 handwritten digits that scikit-learn ships, with one fixed split.

The split is a rule, not a seed, so that no change of a random stream can move a sample from
one part to another: sort the 1797 images by label, keeping the file's order within a label;
position 0 modulo 5 is for validation, position 1 modulo 5 for the test, and the rest is for
training. This gives 1077/360/360 images, with the labels spread evenly to within two images.
Inside a part the images stand in the file's order.

No image is in two parts, but after binarisation about three in a hundred of the validation and
of the test images coincide with a training image: 8×8 bits are few.
"""

from functools import cache

import torch
from jaxtyping import Float, Int64
from sklearn.datasets import load_digits
from torch import Tensor

from lecture_pkg._checks import require_units

_LARGEST_GRAY = 16  # the file counts the dark pixels in each 4×4 block
_SPLITS = ("train", "valid", "test")


def digits(units: str = "gray", split: str = "train") -> Float[Tensor, "n 64"]:
    """Return the images of one part of the 8×8 digits.

    Args:
        units: `"gray"` for intensities in [0, 1]; `"binary"` for {0, 1} and `"spin"` for
            {-1, +1}, where a pixel is on if its intensity exceeds 0.5.
        split: `"train"` (1077 images), `"valid"` (360) or `"test"` (360).

    Returns:
        One image a row, float64, pixels in row-major order.

    Raises:
        ValueError: if `units` or `split` is unknown.

    Reference: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository (1998), https://doi.org/10.24432/C50P49; the copy that
    `sklearn.datasets.load_digits` reads from its own package.
    """
    if units != "gray":
        try:
            require_units(units)
        except ValueError as error:
            raise ValueError(f'{error} For intensities in [0, 1] give "gray".') from None
    gray = _images()[_split_indices(split)]
    if units == "gray":
        return gray
    x = (gray > 0.5).to(torch.float64)
    return 2 * x - 1 if units == "spin" else x


def digit_labels(split: str = "train") -> Int64[Tensor, " n"]:
    """Return the labels 0 to 9 of one part of the digits, in the order of `digits`.

    Args:
        split: `"train"`, `"valid"` or `"test"`.

    Raises:
        ValueError: if `split` is unknown.
    """
    return _labels()[_split_indices(split)]


def _split_indices(split: str) -> Int64[Tensor, " n"]:
    """Return where in the file the images of one part stand, ascending."""
    if split not in _SPLITS:
        raise ValueError(f'split must be "train", "valid" or "test", not {split!r}.')
    by_label = torch.argsort(_labels(), stable=True)
    position = torch.arange(len(by_label)) % 5
    part = {"train": position >= 2, "valid": position == 0, "test": position == 1}[split]
    return by_label[part].sort().values


# Indexing with a tensor copies, so callers never hold the cached tensors themselves.
@cache
def _images() -> Float[Tensor, "n 64"]:
    return torch.from_numpy(load_digits().data).to(torch.float64) / _LARGEST_GRAY


@cache
def _labels() -> Int64[Tensor, " n"]:
    return torch.from_numpy(load_digits().target).to(torch.int64)
