"""The shipped weights are models of the digits, and the script that trained them runs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lecture_pkg.data import digits
from lecture_pkg.exact import log_likelihood
from lecture_pkg.learning import train_digits
from lecture_pkg.models import load_weights


def test_shipped_weights_model_the_digits() -> None:
    small, large = load_weights("rbm_digits_25"), load_weights("rbm_digits_128")
    assert (small.n_visible, small.n_hidden, small.units) == (64, 25, "binary")
    assert (large.n_visible, large.n_hidden) == (64, 128)
    x = digits("binary", "test")
    on = digits("binary", "train").mean(0).clamp(0.01, 0.99)
    independent = (x * on.log() + (1 - x) * (1 - on).log()).sum(1).mean()
    with torch.no_grad():
        found = log_likelihood(small, x)
    assert float(found) > float(independent) + 6  # nats; pixels without hidden units
    # a list of all 1797 images, those of the test among them, would reach this: nothing leaked
    assert float(found) < -torch.tensor(1797.0).log()


def test_the_script_trains_writes_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_digits, "N_HIDDEN", (7,))
    monkeypatch.setattr(train_digits, "N_STEPS", 30)
    train_digits.main(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["rbm_digits_7.safetensors"]
    tensors = load_file(tmp_path / "rbm_digits_7.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "W": (64, 7),
        "b": (64,),
        "c": (7,),
    }


@pytest.mark.bad_input
def test_unknown_names_are_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"rbm_digits_128, rbm_digits_25, but 'rbm'"):
        load_weights("rbm")
