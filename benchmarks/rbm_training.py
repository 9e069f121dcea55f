"""Persistent contrastive divergence against scikit-learn and rbms: same data, same updates.

PCD-1 with 100 chains, batches of 100, plain stochastic gradient descent, float32 for all. Ours
goes through the public `fit` with `torch.optim.SGD`, and shuffles the samples at every epoch;
scikit-learn visits them in order. rbms is driven by its own functions, as in its training loop,
without centring and without dividing the gradient by its norm, so that the update is the same.
"""

import sys
from typing import Any

from benchmarks.comparison import THREADS, Row, measure, report, time_call

MODULE = "benchmarks.rbm_training"
BATCH = 100
# Slow enough for the large machine that the chains follow it: its likelihood then does not depend
# on whether the hidden units of a chain are drawn before or after the update.
RATE = {"large": 0.01, "digits": 0.05}
N_HIDDEN = {"large": 500, "digits": 128}
N_EPOCHS = {"large": 2, "digits": 40}


def problem(name: str):
    """The digits as ink or no ink; or 784 pixels that lean on 20 planted causes."""
    import torch

    if name == "digits":
        from sklearn.datasets import load_digits

        return torch.tensor(load_digits().data > 7.5).float()
    rng = torch.Generator().manual_seed(20231116)
    causes = (torch.rand(10_000, 20, generator=rng) < 0.3).float()
    field = causes @ torch.randn(20, 784, generator=rng) - 1.0
    return (torch.rand(field.shape, generator=rng) < field.sigmoid()).float()


def log_pseudo_likelihood(x, W, b, c) -> float:
    """The same measure for all, in float64, on the first 500 samples."""
    import torch

    from lecture_pkg.learning import PseudoLikelihood
    from lecture_pkg.models import RBM

    W, b, c = (torch.as_tensor(t).double().contiguous() for t in (W, b, c))
    return -float(PseudoLikelihood()(RBM.from_parameters(W, b, c, "binary"), x[:500].double()))


def train_ours(x, n_hidden: int, rate: float, n_epochs: int):
    import torch

    from lecture_pkg.learning import PersistentContrastiveDivergence, fit
    from lecture_pkg.models import RBM

    rng = torch.Generator().manual_seed(1)
    model = RBM(x.shape[1], n_hidden, "binary", rng=rng, dtype=torch.float32)
    fit(
        model,
        x,
        PersistentContrastiveDivergence(1, BATCH, rng=rng),
        optimizer=torch.optim.SGD(model.parameters(), lr=rate),
        n_steps=n_epochs * -(-len(x) // BATCH),
        batch_size=BATCH,
        rng=rng,
    )
    return model.W.detach(), model.b.detach(), model.c.detach()


def train_sklearn(x, n_hidden: int, rate: float, n_epochs: int):
    from sklearn.neural_network import BernoulliRBM

    model = BernoulliRBM(
        n_hidden, learning_rate=rate, batch_size=BATCH, n_iter=n_epochs, random_state=1
    ).fit(x.numpy())
    return model.components_.T, model.intercept_visible_, model.intercept_hidden_


def train_rbms(x, n_hidden: int, rate: float, n_epochs: int):
    import torch
    from rbms.bernoulli_bernoulli.classes import BBRBM

    torch.manual_seed(1)
    W = 0.01 * torch.randn(x.shape[1], n_hidden)
    model = BBRBM(W, torch.zeros(x.shape[1]), torch.zeros(n_hidden))
    model.init_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, maximize=True)
    weights = torch.ones(len(x), 1)
    with torch.no_grad():
        chains = model.init_chains(BATCH)
        for _ in range(n_epochs * -(-len(x) // BATCH)):
            rows = torch.randperm(len(x))[:BATCH]
            optimizer.zero_grad(set_to_none=False)
            batch = model.init_chains(len(rows), weights=weights[rows], start_v=x[rows])
            chains = model.sample_state(chains=chains, n_steps=1)
            model.compute_gradient(data=batch, chains=chains, centered=False)
            optimizer.step()
    return model.weight_matrix, model.vbias, model.hbias


def run(who: str, threads: int) -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    seconds: dict[str, float] = {}
    quality: dict[str, float] = {}
    with threadpool_limits(threads):
        for name in N_HIDDEN:
            x = problem(name)
            results: list[Any] = []

            def train(n_epochs: int, x=x, name=name, results=results) -> None:
                results.append(TRAIN[who](x, N_HIDDEN[name], RATE[name], n_epochs))

            train(1)
            n_epochs = N_EPOCHS[name]
            seconds[name] = time_call(lambda n=n_epochs: train(n), warm_up=0) / n_epochs
            quality[name] = log_pseudo_likelihood(x, *results[-1])
    report(
        seconds["large"],
        digits_seconds=seconds["digits"],
        large_quality=quality["large"],
        digits_quality=quality["digits"],
    )


def rows() -> list[Row]:
    """Three bars for the large machine, one for the digits, each at its best number of threads."""
    counts = range(1, THREADS + 1)
    variants = [f"{who}-{n}" for n in counts for who in TRAIN]
    medians = measure(MODULE, variants)
    table = []
    for peer, threads, bar in (("sklearn", 1, 1.3), ("sklearn", 2, 1.7), ("rbms", THREADS, 1.9)):
        if threads in counts:
            ours, theirs = (medians[f"{who}-{threads}"] for who in ("ours", peer))
            work = f"10000x784, 500 hidden, epoch, {threads} threads"
            table.append(_row(work, peer, ours, theirs, bar, "seconds", "large_quality"))
    best = [
        min((medians[f"{who}-{n}"] for n in counts), key=lambda m: m["digits_seconds"])
        for who in ("ours", "sklearn")
    ]
    work = "digits 1797x64, 128 hidden, epoch, best threads"
    table.append(_row(work, "sklearn", *best, 2.3, "digits_seconds", "digits_quality"))
    return table


def _row(
    work: str,
    peer: str,
    ours: dict[str, float],
    theirs: dict[str, float],
    bar: float,
    seconds: str,
    quality: str,
) -> Row:
    ratio = theirs[seconds] / ours[seconds]
    gain = ours[quality] - theirs[quality]
    return Row(
        work=f"RBM PCD-1, {work}",
        peer={"sklearn": "scikit-learn"}.get(peer, peer),
        ours=ours[seconds],
        theirs=theirs[seconds],
        ratio=ratio,
        bar=f">= {bar}x, same pseudo-likelihood",
        reached=ratio >= bar and gain > -0.02 * abs(theirs[quality]),
        quality=f"log pseudo-likelihood {ours[quality]:.2f}, theirs {theirs[quality]:.2f} nats",
    )


TRAIN = {"ours": train_ours, "sklearn": train_sklearn, "rbms": train_rbms}

if __name__ == "__main__":
    who, _, n_threads = sys.argv[1].partition("-")
    run(who, int(n_threads))
