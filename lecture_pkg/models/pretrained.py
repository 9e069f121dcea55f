"""Models that were trained once and ship with the package."""

import json
from importlib import resources

import torch
from safetensors import safe_open

from lecture_pkg.models.rbm import RBM


def load_weights(name: str) -> RBM:
    """Return an RBM whose weights ship with the package, in float64.

    `python -m lecture_pkg.learning.train_digits` trains them again.

    Args:
        name: "rbm_digits_25" or "rbm_digits_128", trained on the binary digits, with so many
            hidden units.

    Raises:
        ValueError: if there is no such model.
    """
    folder = resources.files("lecture_pkg") / "weights"
    names = sorted(f.name.removesuffix(".safetensors") for f in folder.iterdir())
    if name not in names:
        raise ValueError(f"name must be one of {', '.join(names)}, but {name!r} was given.")
    with (
        resources.as_file(folder / f"{name}.safetensors") as path,
        safe_open(path, framework="pt") as file,
    ):
        W, b, c = (file.get_tensor(key).to(torch.float64) for key in "Wbc")
        units = json.loads(file.metadata()["json"])["units"]
    return RBM.from_parameters(W, b, c, units)
