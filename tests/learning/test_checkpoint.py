"""A training that was killed ends with the same bits as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from lecture_pkg.learning import (
    ContrastiveDivergence,
    FitTrace,
    PersistentContrastiveDivergence,
    fit,
)
from lecture_pkg.models import RBM

N, N_VISIBLE, N_HIDDEN, BATCH = 23, 9, 5, 4


def data(n: int = N) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return (torch.rand(n, N_VISIBLE, generator=rng) < torch.linspace(0.1, 0.9, N_VISIBLE)).float()


def training(
    how: str,
    n_steps: int,
    path: Path | str | None = None,
    *,
    seed: int = 3,
    lr: float = 0.1,
    n_hidden: int = N_HIDDEN,
    batch_size: int | None = BATCH,
    x: Tensor | None = None,
    checkpoint_every: int = 1,
    k: int = 2,
) -> tuple[RBM, FitTrace]:
    """One training from the beginning, as a user would write it."""
    rng = torch.Generator().manual_seed(seed)
    model = RBM(N_VISIBLE, n_hidden, "binary", rng=rng, scale=0.1, dtype=torch.float32)
    estimator: object
    if how.startswith("cd"):
        estimator = ContrastiveDivergence(k, rng=rng, centered=True)
    else:
        betas = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64) if "tempered" in how else None
        own = torch.Generator().manual_seed(seed + 1)
        estimator = PersistentContrastiveDivergence(k, 7, rng=own, betas=betas)
    optimizer: torch.optim.Optimizer
    if "adam" in how:
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    else:
        momentum = 0.9 if "momentum" in how else 0.0
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
    if "milestones" in how:
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 11, 17], 0.5)
    if "cosine" in how:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    trace = fit(
        model,
        data() if x is None else x,
        estimator,  # type: ignore[arg-type]
        optimizer=optimizer,
        n_steps=n_steps,
        batch_size=batch_size,
        rng=rng,
        scheduler=scheduler,
        checkpoint=path,
        checkpoint_every=checkpoint_every,
    )
    return model, trace


def assert_same_bits(a: tuple[RBM, FitTrace], b: tuple[RBM, FitTrace]) -> None:
    for p, q in zip(a[0].parameters(), b[0].parameters(), strict=True):
        assert torch.equal(p, q)
    assert torch.equal(a[1].gradient_norm, b[1].gradient_norm)
    assert len(a[1].objective) == len(b[1].objective)


HOW = ["cd", "pcd", "cd momentum", "pcd adam milestones", "pcd tempered momentum cosine"]


@pytest.mark.parametrize("how", HOW)
def test_a_stopped_training_goes_on_to_the_same_bits(how: str, tmp_path: Path) -> None:
    """Stopped inside an epoch, at its end, and inside the next one."""
    path = tmp_path / "run.safetensors"
    whole = training(how, 31)
    for n_steps in (2, 6, 7, 20, 31):
        stopped = training(how, n_steps, path, checkpoint_every=4)
    assert_same_bits(whole, stopped)
    assert_same_bits(whole, training(how, 31, path))  # finished: nothing is left to do
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    # the same without the file is another matter: the test can fail
    assert not torch.equal(training(how, 30)[0].W, whole[0].W)


@pytest.fixture(scope="module")
def executioner() -> Iterator[Callable[..., bool]]:
    """A process of its own that starts a training and kills it after some seconds.

    A training without a file is left alone until it has written one: however slow the machine,
    there is something to go on from.
    """
    command = [sys.executable, __file__]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]

        def start_and_kill(how: str, n_steps: int, path: Path, seconds: float) -> bool:
            process.stdin.write(json.dumps([how, n_steps, str(path), seconds]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield start_and_kill
        process.stdin.close()


def serve() -> None:
    """What the executioner does: it forks, so that torch need not be loaded for every training."""
    torch.set_num_threads(1)  # other threads would not survive the fork
    training("pcd adam milestones", 1)  # what torch loads at the first step only
    for line in sys.stdin:
        how, n_steps, path, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            training(how, n_steps, path)
            os._exit(0)
        deadline = time.monotonic() + 60
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.WIFSIGNALED(status)), flush=True)
    os._exit(0)  # nothing is left to tidy up; unloading torch takes a second


@pytest.mark.parametrize("how", HOW)
def test_a_killed_training_goes_on_to_the_same_bits(
    how: str, tmp_path: Path, executioner: Callable[..., bool]
) -> None:
    """SIGKILL at random moments: in the reading of the file, in a step, in the writing. The file is
    written after every step, so that many of the kills fall into that.
    """
    path = tmp_path / "run.safetensors"
    moments = random.Random(HOW.index(how))
    killed = [executioner(how, 3000, path, moments.uniform(0, 0.08)) for _ in range(5)]
    assert all(killed)
    reached = step_of(path)
    assert 0 < reached < 3000
    n_steps = reached + 25
    assert_same_bits(training(how, n_steps), training(how, n_steps, path, checkpoint_every=1000))


def step_of(path: Path) -> int:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["json"])["step"]


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_an_unfinished_file_never_takes_the_place_of_a_finished_one(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment itself: all or half of the new file is written, its name not yet changed."""
    path = tmp_path / "run.safetensors"
    training("pcd", 8, path, checkpoint_every=4)
    before = path.read_bytes()

    def die(file: object, *_: object) -> None:
        if place == "fsync":
            os.truncate(file, os.fstat(file).st_size // 2)  # type: ignore[arg-type, call-overload]
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(os, place, die)
        with pytest.raises(_KilledError):
            training("pcd", 20, path, checkpoint_every=4)
    assert path.read_bytes() == before
    assert_same_bits(training("pcd", 20), training("pcd", 20, path, checkpoint_every=4))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_nothing_but_tensors_and_json_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    training("pcd adam milestones", 3, path)
    content = path.read_bytes()
    assert content[8:9] == b"{"  # the length of the header, then the header: JSON
    assert b"\x80\x04" not in content[: 8 + int.from_bytes(content[:8], "little")]


def test_the_callers_own_objects_may_go_on_after_an_interruption(tmp_path: Path) -> None:
    """In a notebook the cell of `fit` alone is run again; the model is half trained then."""
    path = tmp_path / "run.safetensors"

    def objects() -> dict[str, object]:
        rng = torch.Generator().manual_seed(3)
        model = RBM(N_VISIBLE, N_HIDDEN, "binary", rng=rng, dtype=torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
        return {
            "model": model,
            "x": data(),
            "estimator": ContrastiveDivergence(rng=rng),
            "optimizer": optimizer,
            "scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
            "batch_size": BATCH,
            "rng": rng,
            "checkpoint_every": 3,
        }

    whole, cut = objects(), objects()
    fit(**whole, n_steps=20)  # type: ignore[arg-type]

    class InterruptedError_(Exception):
        pass

    estimate, n_calls = cut["estimator"].gradient, 0  # type: ignore[attr-defined]

    def interrupted(model: object, x: object) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 11:
            raise InterruptedError_
        estimate(model, x)

    cut["estimator"].gradient = interrupted  # type: ignore[attr-defined]
    with pytest.raises(InterruptedError_):
        fit(**cut, n_steps=20, checkpoint=path)  # type: ignore[arg-type]
    fit(**cut, n_steps=20, checkpoint=path)  # type: ignore[arg-type]
    for p, q in zip(whole["model"].parameters(), cut["model"].parameters(), strict=True):  # type: ignore[attr-defined]
        assert torch.equal(p, q)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"n_hidden": N_HIDDEN + 1}, "its model is RBM"),
        ({"lr": 0.2}, "its optimizer is SGD"),
        ({"batch_size": 5}, "its batch size is 4, here it is 5"),
        ({"k": 1}, r"its estimator is PersistentContrastiveDivergence\(k=2"),
        ({"seed": 4}, "seed"),
        ({"x": data(N + 1)}, "its data is"),
        ({"x": 1 - data()}, "its data is"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    other: dict[str, object], named: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    training("pcd", 4, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"another training: .*{named}.*delete the file"):
        training("pcd", 8, path, **other)  # type: ignore[arg-type]
    assert path.read_bytes() == before


@pytest.mark.bad_input
def test_other_files_schedules_and_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    training("pcd milestones", 8, path)
    with pytest.raises(ValueError, match="its scheduler is MultiStepLR"):
        training("pcd", 8, path)
    with pytest.raises(ValueError, match="its optimizer is SGD"):
        training("pcd adam milestones", 8, path)
    with pytest.raises(ValueError, match=r"8 steps behind it, more than n_steps=5"):
        training("pcd milestones", 5, path)
    path.write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match="is no safetensors file"):
        training("pcd", 8, path)
    from safetensors.torch import save_file

    save_file({"W": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not written by this version of fit"):
        training("pcd", 8, path)


@pytest.mark.bad_input
def test_lbfgs_and_states_that_would_need_pickle_are_refused(tmp_path: Path) -> None:
    model = RBM(N_VISIBLE, N_HIDDEN, "binary")
    lbfgs = torch.optim.LBFGS(model.parameters())
    estimator = ContrastiveDivergence(rng=torch.Generator())
    with pytest.raises(ValueError, match=r"memory of L-BFGS; leave checkpoint out"):
        fit(model, data(), estimator, optimizer=lbfgs, n_steps=2, checkpoint=tmp_path / "run")

    class Stateful(ContrastiveDivergence):
        def state_dict(self) -> dict[str, object]:  # type: ignore[override]
            return {"function": print}

    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    stateful = Stateful(rng=torch.Generator())
    with pytest.raises(TypeError, match=r"estimator.function is a builtin_function"):
        fit(model, data(), stateful, optimizer=sgd, n_steps=2, checkpoint=tmp_path / "run")
    assert not list(tmp_path.iterdir())


if __name__ == "__main__":
    serve()
