"""Checkpoints of a training: one file, written as a whole or not at all, and no pickle.

A checkpoint is a safetensors file. Its tensors are those of the model, the optimiser, the
estimator, the generators and the trace; all else (step numbers, learning rates, what the training
is) stands as JSON in the header of the same file, so that the two can never disagree.
"""

import hashlib
import json
import os
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from lecture_pkg.learning.batches import Batches

_FORMAT = "lecture_pkg fit 1"
# What a schedule changes as it goes; the rest of its state says which schedule it is.
_MOVING = {"last_epoch", "_step_count", "_last_lr", "T_cur", "T_i"}
_MOVING |= {"best", "num_bad_epochs", "cooldown_counter"}


class Checkpoint:
    """The file of one training, which it can write and go on from; used by `fit`.

    Args:
        path: where the file is or will be.
        model: its state is stored, and its class and shapes tell trainings apart.
        estimator: its state is stored if it has a `state_dict`.
        optimizer: its state is stored; its settings tell trainings apart.
        scheduler: its state is stored; its settings tell trainings apart.
        batches: where in the epoch the training is; the data tell trainings apart.

    Raises:
        ValueError: if the optimiser is L-BFGS, whose state is no set of tensors.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        model: torch.nn.Module,
        estimator: Any,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | None,
        batches: Batches,
    ):
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ValueError(
                "checkpoint cannot hold the memory of L-BFGS; leave checkpoint out, since L-BFGS "
                "takes few steps, or use SGD or Adam."
            )
        self.path = Path(path)
        self._stored: dict[str, Any] = {"model": model, "optimizer": optimizer, "batches": batches}
        if scheduler is not None:
            self._stored["scheduler"] = scheduler
        if hasattr(estimator, "state_dict"):
            self._stored["estimator"] = estimator
        self._run = _describe(model, estimator, optimizer, scheduler, batches)

    def save(self, step: int, objectives: list[float], norms: list[float]) -> None:
        """Write the state before the evaluation number `step`, replacing the older file at once.

        The new file is complete on the disk before it takes the old one's name: whenever the
        process or the machine stops, one of the two is there, whole.
        """
        tensors: dict[str, Tensor] = {
            "trace.objective": torch.tensor(objectives, dtype=torch.float64),
            "trace.gradient_norm": torch.tensor(norms, dtype=torch.float64),
        }
        state = {
            name: _flatten(part.state_dict(), name, tensors) for name, part in self._stored.items()
        }
        header = {
            "format": _FORMAT,
            "json": json.dumps({"step": step, "run": self._run, "state": state}),
        }
        content = save(tensors, metadata=header)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".unfinished")
        with open(unfinished, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path)

    def resume(self, n_steps: int) -> tuple[int, list[float], list[float]]:
        """Put everything back as it was when the file was written.

        Returns:
            The step to go on with and the trace so far; step 0 and an empty trace where there
            is no file yet.

        Raises:
            ValueError: if the file is no checkpoint, belongs to another training, or has more
                than `n_steps` steps behind it.
        """
        if not self.path.exists():
            return 0, [], []
        header, tensors = self._read()
        advice = "give another path, or delete the file to start again."
        for name, now in self._run.items():
            before = header["run"].get(name)
            if before != now:
                raise ValueError(
                    f"checkpoint {self.path} belongs to another training: its {name} is {before}, "
                    f"here it is {now}; {advice}"
                )
        if header["step"] > n_steps:
            raise ValueError(
                f"checkpoint {self.path} has {header['step']} steps behind it, more than "
                f"n_steps={n_steps}; ask for at least as many, {advice}"
            )
        for name, part in self._stored.items():
            part.load_state_dict(_restore(header["state"][name], tensors))
        trace = (tensors[f"trace.{name}"].tolist() for name in ("objective", "gradient_norm"))
        return header["step"], *trace

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(
                f"checkpoint {self.path} is no safetensors file ({error}); give another path."
            ) from error
        if metadata.get("format") != _FORMAT:
            raise ValueError(
                f"checkpoint {self.path} was not written by this version of fit; "
                "give another path, or delete the file to start again."
            )
        return json.loads(metadata["json"]), tensors


def _describe(
    model: torch.nn.Module,
    estimator: Any,
    optimizer: torch.optim.Optimizer,
    scheduler: LRScheduler | None,
    batches: Batches,
) -> dict[str, str]:
    """Say which training this is, in words that stay the same while it runs."""
    shapes = {name: f"{p.dtype}{list(p.shape)}" for name, p in model.named_parameters()}
    groups = [
        {k: v for k, v in group.items() if k not in ("params", "initial_lr")}
        | {"lr": group.get("initial_lr", group["lr"])}  # the schedule moves lr
        for group in optimizer.param_groups
    ]
    x = batches.x.detach().cpu().contiguous()
    described = {
        "model": f"{type(model).__name__}({model.extra_repr()}) of {shapes}",
        "data": f"{x.dtype}{list(x.shape)} with SHA-256 "
        + hashlib.sha256(x.view(torch.uint8).numpy().data).hexdigest(),
        "batch size": str(batches.batch_size),
        "estimator": getattr(estimator, "__name__", type(estimator).__name__),
        "optimizer": f"{type(optimizer).__name__} with {groups}",
        "scheduler": "None",
        "seed of the batches": "None" if batches.rng is None else str(batches.rng.initial_seed()),
    }
    if hasattr(estimator, "describe"):
        described["estimator"] = estimator.describe()
    if scheduler is not None:
        fixed = {k: v for k, v in scheduler.state_dict().items() if k not in _MOVING}
        described["scheduler"] = f"{type(scheduler).__name__} with {fixed}"
    return described


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return what JSON can hold of a state; its tensors go to `tensors` under their names."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):  # as pairs: JSON would turn keys that are numbers into text
        pairs = [[k, _flatten(v, f"{name}.{k}", tensors)] for k, v in value.items()]
        return {"counter" if isinstance(value, Counter) else "dict": pairs}
    if isinstance(value, list | tuple):
        items = [_flatten(v, f"{name}.{i}", tensors) for i, v in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"a checkpoint holds tensors, numbers and text, but {name} is a {type(value).__name__}; "
        "train without a checkpoint, or keep it out of the state_dict."
    )


def _restore(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind in ("dict", "counter"):
        pairs = {k: _restore(v, tensors) for k, v in content}
        return Counter(pairs) if kind == "counter" else pairs
    items = [_restore(v, tensors) for v in content]
    return tuple(items) if kind == "tuple" else items
