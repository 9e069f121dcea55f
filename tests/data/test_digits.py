import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lecture_pkg.data import digit_labels, digits

SIZES = {"train": 1077, "valid": 360, "test": 360}
# of the gray images and of the labels, made once from the rule in the module's docstring
CHECKSUMS = {
    "train": ("c0a5b2a018854f32", "430e95481815b2e1"),
    "valid": ("3c05733c55d71010", "28beeed8f5e51f11"),
    "test": ("2482d63628ed9c15", "ac8ba393d3b91cbb"),
}


@pytest.mark.parametrize(("split", "size"), SIZES.items())
def test_sizes_types_and_range(split: str, size: int) -> None:
    x, labels = digits(split=split), digit_labels(split)
    assert x.shape == (size, 64)
    assert x.dtype == torch.float64
    assert float(x.min()) == 0.0
    assert float(x.max()) == 1.0
    assert labels.shape == (size,)
    assert labels.dtype == torch.int64


def test_the_parts_are_the_file_with_nothing_lost_or_doubled() -> None:
    file = load_digits()
    expected = sorted((*row, label) for row, label in zip(file.data / 16, file.target, strict=True))
    parts = [
        (*row, label)
        for split in SIZES
        for row, label in zip(
            digits(split=split).tolist(), digit_labels(split).tolist(), strict=True
        )
    ]
    assert sorted(parts) == expected  # all 1797 images differ, so this also shows disjointness


def test_each_label_is_spread_evenly() -> None:
    file_counts = np.bincount(load_digits().target)
    for split, fraction, most in (("train", 0.6, 2), ("valid", 0.2, 1), ("test", 0.2, 1)):
        counts = np.bincount(digit_labels(split).numpy(), minlength=10)
        assert np.abs(counts - fraction * file_counts).max() < most


def test_the_file_and_the_split_never_move() -> None:
    """Scores in the league table are comparable only while these stand."""

    def checksum(array: np.ndarray) -> str:
        return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]

    assert checksum(load_digits().data.astype(np.uint8)) == "8f26b2bd9d135c25"
    found = {
        split: (
            checksum((16 * digits(split=split)).numpy().astype(np.uint8)),
            checksum(digit_labels(split).numpy().astype(np.uint8)),
        )
        for split in SIZES
    }
    assert found == CHECKSUMS


def test_binarised_above_one_half() -> None:
    gray, binary = digits(split="test"), digits("binary", "test")
    assert bool((gray == 0.5).any())  # the edge case is in the data, and is off
    assert torch.equal(binary, torch.from_numpy((gray.numpy() > 0.5).astype(np.float64)))
    assert torch.equal(digits("spin", "test"), 2 * binary - 1)


def test_callers_cannot_change_the_data() -> None:
    kept = digits().clone()
    digits().zero_()
    digit_labels().zero_()
    assert torch.equal(digits(), kept)
    assert int(digit_labels().max()) == 9


@pytest.mark.bad_input
def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"units must be.*not 'grey'.*\"gray\""):
        digits("grey")
    with pytest.raises(ValueError, match=r"split must be.*not 'validation'"):
        digits(split="validation")
    with pytest.raises(ValueError, match=r"split must be.*not 'all'"):
        digit_labels("all")
