"""Train every model of the league table and score it: `make league`.

All models see the same 1077 training digits, binarised at one half, and are scored on the same
360 test digits. What could be chosen was chosen on the validation digits. Whatever learns with
random numbers is trained with three seeds. The results go to book/reference/league.csv, from which
the page is made, whole or not at all.
"""

import csv
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from run_notebooks import write_atomically
from tqdm import tqdm

from lecture_pkg.data import digits
from lecture_pkg.evaluation import Score, score
from lecture_pkg.evaluation.likelihood import log_odds_field
from lecture_pkg.learning import (
    ContrastiveDivergence,
    GradientEstimator,
    MinimumProbabilityFlow,
    PersistentContrastiveDivergence,
    PseudoLikelihood,
    fit,
)
from lecture_pkg.models import RBM, BoltzmannMachine, load_weights

RESULTS = Path(__file__).resolve().parent / "reference" / "league.csv"
BATCH_SIZE = 100
SEEDS = (0, 1, 2)
HEADER = ("モデル", "学習", "パラメータ", "検証", "テスト", "種による幅", "数の種類", "節")


@dataclass(frozen=True)
class Entry:
    """One row: what is trained, how, and where the book explains it."""

    name: str
    rule: str
    section: str
    build: Callable[[torch.Generator], torch.nn.Module]
    estimator: Callable[[torch.Generator], GradientEstimator] | None = None
    epochs: int = 300
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    n_parameters: int | None = None  # where not all parameters of the class are used


def training_digits() -> torch.Tensor:
    """Return what every model learns from."""
    return digits("binary", "train")


def uniform(rng: torch.Generator) -> BoltzmannMachine:
    """Every picture is as likely as any other."""
    return BoltzmannMachine(torch.zeros(64, 64).double(), torch.zeros(64).double(), "binary")


def independent(rng: torch.Generator) -> BoltzmannMachine:
    """Every pixel on its own, each value counted once more than it occurs."""
    field = log_odds_field(training_digits(), "binary")
    return BoltzmannMachine(torch.zeros(64, 64).double(), field, "binary")


def rbm(n_hidden: int) -> Callable[[torch.Generator], RBM]:
    """Start from independent pixels, with weights that are small and random."""

    def build(rng: torch.Generator) -> RBM:
        model = RBM(64, n_hidden, "binary", rng=rng, scale=0.05, dtype=torch.float32)
        with torch.no_grad():
            model.b.copy_(log_odds_field(training_digits(), "binary"))
        return model

    return build


def shipped(name: str) -> Callable[[torch.Generator], RBM]:
    """Take the model that `lecture_pkg.learning.train_digits` trained."""
    return lambda rng: load_weights(name)


def pcd(rng: torch.Generator) -> GradientEstimator:
    """Let persistent chains follow the learning."""
    return PersistentContrastiveDivergence(5, n_chains=500, rng=rng)


def tempered(rng: torch.Generator) -> GradientEstimator:
    """Let the chains exchange their temperatures."""
    betas = torch.linspace(0, 1, 8, dtype=torch.float64)
    return PersistentContrastiveDivergence(2, n_chains=100, rng=rng, betas=betas)


PAIRS = {"learning_rate": 0.05, "weight_decay": 1e-3}
ENTRIES = (
    Entry("一様分布", "なし", "sec-2", uniform, n_parameters=0),
    Entry("独立な画素", "最尤法", "sec-2-3", independent, n_parameters=64),
    Entry(
        "ボルツマンマシン",
        "最小確率流法",
        "sec-7-1",
        independent,
        lambda rng: MinimumProbabilityFlow(),
        learning_rate=0.02,
        weight_decay=1e-3,
    ),
    Entry(
        "ボルツマンマシン",
        "擬似尤度",
        "sec-7-1",
        independent,
        lambda rng: PseudoLikelihood(),
        **PAIRS,
    ),
    Entry("ボルツマンマシン", "PCD-5", "sec-7-4", independent, pcd, **PAIRS),
    Entry(
        "RBM（隠れ 25）",
        "CD-1",
        "sec-7-4",
        rbm(25),
        lambda rng: ContrastiveDivergence(1, rng=rng),
    ),
    Entry(
        "RBM（隠れ 25）",
        "CD-10",
        "sec-7-4",
        rbm(25),
        lambda rng: ContrastiveDivergence(10, rng=rng),
    ),
    Entry("RBM（隠れ 25）", "PCD-5", "sec-7-4", rbm(25), pcd),
    Entry("RBM（隠れ 25）", "PCD-2、8 温度", "sec-7-4", rbm(25), tempered),
    Entry("RBM（隠れ 128）", "PCD-5", "sec-7-4", rbm(128), pcd),
    Entry("RBM（隠れ 25）", "PCD-5、中心化、長く", "sec-7-4", shipped("rbm_digits_25")),
    Entry("RBM（隠れ 128）", "PCD-5、中心化、長く", "sec-7-4", shipped("rbm_digits_128")),
)


def train(entry: Entry, seed: int) -> torch.nn.Module:
    """Train with stochastic gradient descent, whose rate falls to nothing."""
    rng = torch.Generator().manual_seed(seed)
    model = entry.build(rng)
    if entry.estimator is None:
        return model
    biases = [p for name, p in model.named_parameters() if name in ("b", "c", "h")]
    couplings = [p for name, p in model.named_parameters() if name in ("W", "couplings")]
    groups = [{"params": couplings, "weight_decay": entry.weight_decay}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, lr=entry.learning_rate, momentum=0.5)
    x = training_digits().to(couplings[0].dtype)
    n_steps = entry.epochs * -(-len(x) // BATCH_SIZE)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=n_steps)
    fit(
        model,
        x,
        entry.estimator(rng),
        optimizer=optimizer,
        n_steps=n_steps,
        batch_size=BATCH_SIZE,
        rng=rng,
        scheduler=scheduler,
    )
    return model.double()


def evaluate(model: torch.nn.Module, split: str) -> Score:
    """Score the digits of one split, in nats a picture."""
    if isinstance(model, BoltzmannMachine) and not bool(model.couplings.any()):
        return independent_score(model, split)
    rng = torch.Generator().manual_seed(1)
    x = digits("binary", split)
    return score(model, x, training_data=training_digits(), n_temperatures=500, rng=rng)


def independent_score(model: BoltzmannMachine, split: str) -> Score:
    """Without couplings the units are independent, and no sum over states is needed."""
    log_odds = model.h.detach()
    x = digits("binary", split)
    value = float((x @ log_odds - torch.nn.functional.softplus(log_odds).sum()).mean())
    return Score(value, "exact", value, value, 0.0, "closed form")


def row(entry: Entry) -> list[str]:
    """Train and score with every seed, and write down one row of the table."""
    models = [train(entry, seed) for seed in (SEEDS if entry.estimator else SEEDS[:1])]
    n_parameters = entry.n_parameters
    if n_parameters is None:
        n_parameters = sum(p.numel() for p in models[0].parameters())
    valid, test = ([evaluate(model, split) for model in models] for split in ("valid", "test"))
    values = [score.value for score in test]
    width = f"{max(values) - min(values):.2f}" if len(values) > 1 else "—"
    kind = "厳密"
    if test[0].kind != "exact":
        lower, upper = mean(score.lower for score in test), mean(score.upper for score in test)
        kind = f"{test[0].kind}、{lower:.2f} から {upper:.2f} の間"
    numbers = [f"{mean(score.value for score in scores):.2f}" for scores in (valid, test)]
    section = f"{{ref}}`{entry.section}`"
    return [entry.name, entry.rule, str(n_parameters), *numbers, width, kind, section]


def main() -> None:
    """Compute all rows and replace the table, worst row first."""
    rows = [row(entry) for entry in tqdm(ENTRIES, unit="model", file=sys.stderr)]
    rows.sort(key=lambda cells: float(cells[4]))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    write_atomically(RESULTS, text.getvalue())


if __name__ == "__main__":
    main()
