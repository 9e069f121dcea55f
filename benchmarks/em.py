"""EM for a mixture of Gaussians against scikit-learn: same start, same number of iterations."""

import sys

from benchmarks.comparison import THREADS, Row, measure, report, time_call

N_SAMPLES, DIM, N_COMPONENTS, N_STEPS, RIDGE = 100_000, 16, 10, 50, 1e-6
MODULE = "benchmarks.em"


def problem():
    """Samples of a mixture with overlapping components, and a start away from the truth."""
    import torch

    rng = torch.Generator().manual_seed(20231116)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    factors = 0.4 * normal(N_COMPONENTS, DIM, DIM)
    centres = 1.5 * normal(N_COMPONENTS, DIM)
    labels = torch.randint(N_COMPONENTS, (N_SAMPLES,), generator=rng)
    x = centres[labels] + (factors[labels] @ normal(N_SAMPLES, DIM, 1))[:, :, 0]
    x += 0.3 * normal(N_SAMPLES, DIM)
    weights = torch.full((N_COMPONENTS,), 1 / N_COMPONENTS, dtype=torch.float64)
    covs = (x.mT.cov() + 0.1 * torch.eye(DIM)).expand(N_COMPONENTS, -1, -1)
    return x, weights, x[:N_COMPONENTS].clone(), covs


def run_ours(threads: int) -> None:
    import torch

    from lecture_pkg.learning.em import fit_em
    from lecture_pkg.models.mixture import GaussianMixture

    torch.set_num_threads(threads)
    x, *parameters = problem()
    initial = GaussianMixture(*parameters)
    rng = torch.Generator()

    def fit(n_steps: int = N_STEPS):
        settings = {"n_steps": n_steps, "tolerance": 0.0, "ridge": RIDGE, "initial": initial}
        return fit_em(x, N_COMPONENTS, rng=rng, **settings)

    fit(1)
    result = []
    seconds = time_call(lambda: result.append(fit()), warm_up=0)
    report(seconds, log_likelihood=float(result[0].model.log_prob(x).mean()))


def run_theirs(threads: int) -> None:
    import warnings

    import torch
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore", ConvergenceWarning)  # tol=0: all iterations are wanted
    x, weights, means, covs = (tensor.numpy() for tensor in problem())
    precisions = torch.linalg.inv(torch.tensor(covs)).numpy()

    def fit(n_steps: int = N_STEPS):
        return GaussianMixture(
            N_COMPONENTS,
            covariance_type="full",
            max_iter=n_steps,
            tol=0.0,
            reg_covar=RIDGE,
            weights_init=weights,
            means_init=means,
            precisions_init=precisions,
            init_params="random_from_data",  # cheap, and replaced by the three lines above
        ).fit(x)

    with threadpool_limits(threads):
        fit(1)
        result = []
        seconds = time_call(lambda: result.append(fit()), warm_up=0)
        report(seconds, log_likelihood=float(result[0].score(x)), n_steps=result[0].n_iter_)


def rows() -> list[Row]:
    """One row: all of `fit_em` against all of `fit`, each at its best number of threads."""
    medians = measure(MODULE, [f"{who}-{n}" for n in range(1, THREADS + 1) for who in RUNS])
    best = {
        who: min((v for v in medians if v.startswith(who)), key=lambda v: medians[v]["seconds"])
        for who in RUNS
    }
    ours, theirs = (medians[best[who]] for who in RUNS)
    ratio = theirs["seconds"] / ours["seconds"]
    difference = abs(ours["log_likelihood"] / theirs["log_likelihood"] - 1)
    return [
        Row(
            work=f"GMM EM, {N_SAMPLES}x{DIM}, {N_COMPONENTS} full components, {N_STEPS} iterations",
            peer="scikit-learn",
            ours=ours["seconds"],
            theirs=theirs["seconds"],
            ratio=ratio,
            bar=">= 2.5x, same log-likelihood",
            reached=ratio >= 2.5 and difference < 1e-8,
            quality=(
                f"{ours['log_likelihood']:.6f} nats, relative difference {difference:.0e}; "
                f"best threads {best['ours'][-1]} and {best['sklearn'][-1]}"
            ),
        )
    ]


RUNS = {"ours": run_ours, "sklearn": run_theirs}

if __name__ == "__main__":
    who, _, n_threads = sys.argv[1].partition("-")
    RUNS[who](int(n_threads))
