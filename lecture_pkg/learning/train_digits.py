"""Train the RBMs of the digits that ship with the package: a minute on two cores.

`python -m lecture_pkg.learning.train_digits` writes them to the folder `lecture_pkg/weights`, or
to the folder named as argument. A training that was stopped goes on where it was.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save

from lecture_pkg.data import digits
from lecture_pkg.learning.fit import fit
from lecture_pkg.learning.persistent_contrastive_divergence import (
    PersistentContrastiveDivergence,
)
from lecture_pkg.models import RBM

N_HIDDEN = (25, 128)  # with 25 hidden units the likelihood is exact
N_STEPS = 12_000  # chosen on the validation images, never on those of the test


def train(n_hidden: int, n_steps: int, checkpoint: Path, *, progress: bool = False) -> RBM:
    """Train an RBM on the binary digits by persistent contrastive divergence, section 7.4."""
    x = digits("binary", "train").to(torch.float32)
    rng = torch.Generator().manual_seed(1)
    model = RBM(64, n_hidden, "binary", rng=rng, scale=0.05, dtype=torch.float32)
    with torch.no_grad():
        model.b.copy_(x.mean(0).clamp(0.01, 0.99).logit())  # right without hidden units
    estimator = PersistentContrastiveDivergence(5, 500, rng=rng, centered=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=n_steps)
    fit(
        model,
        x,
        estimator,
        optimizer=optimizer,
        n_steps=n_steps,
        batch_size=100,
        rng=rng,
        scheduler=schedule,
        checkpoint=checkpoint,
        checkpoint_every=1000,
        progress=progress,
    )
    return model


def main(folder: Path) -> None:
    """Train every RBM and write its weights, each file as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for n_hidden in N_HIDDEN:
        path = folder / f"rbm_digits_{n_hidden}.safetensors"
        checkpoint = path.with_suffix(".checkpoint")
        model = train(n_hidden, N_STEPS, checkpoint, progress=True)
        tensors = {name: value.detach().contiguous() for name, value in model.named_parameters()}
        content = save(tensors, metadata={"json": json.dumps({"units": model.units})})
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
        checkpoint.unlink()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(__file__).parents[1] / "weights")
