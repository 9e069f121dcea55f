"""EM against scikit-learn, automatic differentiation, sums written out, and its own theorems."""

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.mixture import GaussianMixture as SklearnMixture

from lecture_pkg.learning import em, sufficient_statistics
from lecture_pkg.learning.em import (
    e_step,
    evidence_lower_bound,
    fit_em,
    m_step,
    q_function,
    seed_mixture,
)
from lecture_pkg.models.gaussian import Gaussian
from lecture_pkg.models.mixture import GaussianMixture

ALL_STEPS = pytest.mark.filterwarnings(
    "ignore:Best performing:sklearn.exceptions.ConvergenceWarning"
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mixture(seed: int, n_components: int, dim: int) -> GaussianMixture:
    """Unequal weights, correlations of both signs, overlapping components."""
    rng = generator(seed)
    factors = torch.randn(n_components, dim, dim, generator=rng, dtype=torch.float64)
    covs = factors @ factors.mT + 0.2 * torch.eye(dim, dtype=torch.float64)
    means = 3 * torch.randn(n_components, dim, generator=rng, dtype=torch.float64)
    weights = torch.rand(n_components, generator=rng, dtype=torch.float64) + 0.2
    return GaussianMixture(weights / weights.sum(), means, covs)


def samples(seed: int, n: int, n_components: int = 3, dim: int = 2) -> torch.Tensor:
    return random_mixture(seed, n_components, dim).sample(n, rng=generator(seed + 1))


def random_responsibilities(seed: int, n: int, n_components: int) -> torch.Tensor:
    logits = 2 * torch.randn(n, n_components, generator=generator(seed), dtype=torch.float64)
    return logits.softmax(1)


def sklearn_steps(x, model, n_steps, ridge):
    """The same iterations by scikit-learn, which starts with an E-step as well."""
    peer = SklearnMixture(
        model.n_components,
        max_iter=n_steps,
        tol=0.0,
        reg_covar=ridge,
        weights_init=model.weights.numpy(),
        means_init=model.means.numpy(),
        precisions_init=torch.linalg.inv(model.covs).numpy(),
        init_params="random_from_data",
    )
    return peer.fit(x.numpy())


def assert_same(ours, weights, means, covs, **tolerance):
    tolerance = {"rtol": 1e-10, "atol": 1e-11} | tolerance
    np.testing.assert_allclose(ours.weights, weights, **tolerance)
    np.testing.assert_allclose(ours.means, means, **tolerance)
    np.testing.assert_allclose(ours.covs, covs, **tolerance)


# The plain steps


@pytest.mark.equation("3.6")
@pytest.mark.equation("3.10")
def test_m_step_is_the_weighted_averages_written_out():
    x, gamma = samples(1, 30, dim=3), random_responsibilities(2, 30, 4)
    model = m_step(x, gamma)
    for k in range(4):
        share = gamma[:, k].numpy()
        mean = np.average(x, axis=0, weights=share)
        cov = np.cov(x.T, aweights=share, ddof=0)
        np.testing.assert_allclose(model.weights[k], share.sum() / 30, rtol=1e-12)
        np.testing.assert_allclose(model.means[k], mean, rtol=1e-10)
        np.testing.assert_allclose(model.covs[k], cov, rtol=1e-10)


@pytest.mark.equation("3.24")
@pytest.mark.equation("3.25")
def test_gradient_of_q_vanishes_after_the_m_step():
    """Q by torch.distributions; the weights are stationary on the simplex (Equation (3.28))."""
    x, gamma = samples(3, 50, dim=3), random_responsibilities(4, 50, 4)
    model = m_step(x, gamma)
    parameters = [p.clone().requires_grad_() for p in (model.weights, model.means, model.covs)]
    weights, means, covs = parameters
    normal = torch.distributions.MultivariateNormal(means, covs)
    q = (gamma * (normal.log_prob(x[:, None]) + weights.log())).sum(1).mean()
    by_weights, by_means, by_covs = torch.autograd.grad(q, parameters)
    assert by_means.abs().max() < 1e-12
    assert by_covs.abs().max() < 1e-12
    torch.testing.assert_close(by_weights, torch.ones_like(weights))  # one multiplier for all


@ALL_STEPS
@pytest.mark.parametrize("ridge", [0.0, 0.03])
def test_one_step_agrees_with_scikit_learn(ridge):
    x, start = samples(5, 200, dim=3), random_mixture(6, 3, 3)
    ours = m_step(x, e_step(start, x), ridge=ridge)
    theirs = sklearn_steps(x, start, 1, ridge)
    assert_same(ours, theirs.weights_, theirs.means_, theirs.covariances_)


# The bound


def test_q_is_the_sum_written_out_with_its_constant():
    x, gamma, model = (
        samples(7, 20, dim=3),
        random_responsibilities(8, 20, 2),
        random_mixture(9, 2, 3),
    )
    total = 0.0
    for i in range(20):
        for z in range(2):
            deviation = (x[i] - model.means[z]).numpy()
            cov = model.covs[z].numpy()
            quadratic = deviation @ np.linalg.inv(cov) @ deviation
            constant = np.log(np.linalg.det(cov)) + 3 * np.log(2 * np.pi)
            log_joint = np.log(float(model.weights[z])) - 0.5 * (quadratic + constant)
            total += float(gamma[i, z]) * log_joint
    assert float(q_function(model, x, gamma)) == pytest.approx(total / 20, rel=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4))
def test_bound_never_exceeds_the_likelihood_and_the_gap_is_a_divergence(seed, n_components, dim):
    model = random_mixture(seed, n_components, dim)
    x = samples(seed + 1, 12, dim=dim)
    r = random_responsibilities(seed + 2, 12, n_components)
    terms = [
        c * stats.multivariate_normal(m, s).pdf(x.numpy()).reshape(12)
        for c, m, s in zip(
            model.weights.numpy(), model.means.numpy(), model.covs.numpy(), strict=True
        )
    ]
    joint = np.stack(terms, 1)
    likelihood = np.log(joint.sum(1)).mean()
    posterior = joint / joint.sum(1, keepdims=True)
    gap = stats.entropy(r.numpy(), posterior, axis=1).mean()
    bound = float(evidence_lower_bound(model, x, r))
    assert bound <= likelihood + 1e-10
    assert bound == pytest.approx(likelihood - gap, rel=1e-9, abs=1e-9)
    closed = float(evidence_lower_bound(model, x, e_step(model, x)))
    assert closed == pytest.approx(likelihood, rel=1e-10, abs=1e-10)


def test_a_label_that_is_certain_counts_nothing_for_the_others():
    """0 ln 0 = 0, also where the model gives the label no weight."""
    x = samples(1, 6)
    means, covs = torch.zeros(2, 2).double(), torch.eye(2).double().expand(2, 2, 2)
    model = GaussianMixture(torch.tensor([1.0, 0.0]).double(), means, covs)
    certain = torch.tensor([[1.0, 0.0]]).double().expand(6, 2)
    alone = Gaussian(means[0], covs[0]).log_prob(x).mean()
    torch.testing.assert_close(evidence_lower_bound(model, x, certain), alone)


# The whole algorithm


@pytest.mark.parametrize(("n_components", "dim"), [(1, 1), (4, 1), (3, 2), (2, 5)])
def test_fast_form_agrees_with_the_plain_steps(monkeypatch, n_components, dim):
    """Small blocks, the last one ragged; the data are far from the origin."""
    monkeypatch.setattr(sufficient_statistics, "_BLOCK_NUMBERS", 300)
    monkeypatch.setattr(em, "m_step", None)  # the fast form has to do without
    x = samples(11, 503, dim=dim) + 50
    model = seed_mixture(x, n_components, rng=generator(12))
    result = fit_em(x, n_components, rng=generator(0), n_steps=15, tolerance=0.0, initial=model)
    trace = [float(model.log_prob(x).mean())]
    for _ in range(15):
        model = m_step(x, e_step(model, x))
        trace.append(float(model.log_prob(x).mean()))
    assert_same(result.model, model.weights, model.means, model.covs)
    np.testing.assert_allclose(result.log_likelihood, trace, rtol=1e-10)
    assert not result.converged


@ALL_STEPS
@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_many_steps_agree_with_scikit_learn(ridge):
    x, start = samples(13, 400, n_components=4, dim=4), random_mixture(14, 3, 4)
    ours = fit_em(x, 3, rng=generator(0), n_steps=30, tolerance=0.0, ridge=ridge, initial=start)
    theirs = sklearn_steps(x, start, 30, ridge)
    assert_same(
        ours.model, theirs.weights_, theirs.means_, theirs.covariances_, rtol=1e-8, atol=1e-9
    )
    assert float(ours.log_likelihood[-1]) == pytest.approx(theirs.score(x.numpy()), rel=1e-10)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3))
def test_likelihood_never_falls(seed, n_components, dim):
    x = samples(seed, 150, dim=dim)
    try:
        trace = fit_em(x, n_components, rng=generator(seed), n_steps=30).log_likelihood
    except ValueError as error:  # a local collapse, one start in a hundred
        if "collapsed" not in str(error):
            raise
        reject()
    assert trace.diff().min() >= -1e-12


def test_gradient_of_the_likelihood_vanishes_where_em_converges():
    x = samples(15, 300)
    result = fit_em(x, 3, rng=generator(1), n_steps=5000, tolerance=1e-15)
    assert result.converged
    fitted = result.model
    parameters = [p.clone().requires_grad_() for p in (fitted.weights, fitted.means, fitted.covs)]
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(parameters[0]),
        torch.distributions.MultivariateNormal(*parameters[1:]),
    )
    likelihood = mixture.log_prob(x).mean()
    for gradient in torch.autograd.grad(likelihood, parameters):
        assert gradient.abs().max() < 1e-6  # Categorical normalises, so the weights' is zero too


def test_one_component_is_the_maximum_likelihood_gaussian():
    x = samples(16, 60, dim=3)
    result = fit_em(x, 1, rng=generator(0))
    gaussian = Gaussian.fit(x)
    assert result.converged
    assert_same(result.model, [1.0], gaussian.mean[None], gaussian.cov[None])


def test_trace_starts_before_the_first_iteration_and_ends_at_the_model():
    x, start = samples(17, 100), random_mixture(18, 3, 2)
    for n_steps in (0, 1, 4):
        result = fit_em(x, 3, rng=generator(0), n_steps=n_steps, tolerance=0.0, initial=start)
        assert result.log_likelihood.shape == (n_steps + 1,)
        first, last = start.log_prob(x).mean(), result.model.log_prob(x).mean()
        torch.testing.assert_close(result.log_likelihood[[0, -1]], torch.stack([first, last]))
        assert not result.converged
    stopped = fit_em(x, 3, rng=generator(0), n_steps=10_000, tolerance=1e-4, initial=start)
    gains = stopped.log_likelihood.diff()
    assert stopped.converged
    assert gains[-1] < 1e-4
    assert (gains[:-1] >= 1e-4).all()
    torch.testing.assert_close(stopped.log_likelihood[-1], stopped.model.log_prob(x).mean())


def test_the_start_is_drawn_from_the_generator_alone():
    x, before = samples(19, 100), torch.get_rng_state()
    first, second, other = (fit_em(x, 3, rng=generator(s), n_steps=2) for s in (5, 5, 6))
    assert torch.equal(first.model.means, second.model.means)
    assert not torch.equal(first.model.means, other.model.means)
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_are_spread_and_do_not_depend_on_units():
    """Six tight clusters: each gets a seed unless a draw of relative weight ~1e-7 occurs."""
    centres = torch.arange(6, dtype=torch.float64)[:, None] * torch.tensor([1.0, -2.0])
    noise = 1e-3 * torch.randn(6, 20, 2, generator=generator(1), dtype=torch.float64)
    x = (centres[:, None] + noise).reshape(-1, 2)
    for seed in range(5):
        means = seed_mixture(x, 6, rng=generator(seed)).means
        assert sorted(means[:, 0].round().tolist()) == [0, 1, 2, 3, 4, 5]
        scale = torch.tensor([1e6, 1e-6], dtype=torch.float64)
        torch.testing.assert_close(
            seed_mixture(x * scale, 6, rng=generator(seed)).means, means * scale
        )


def test_the_model_has_the_dtype_of_the_data():
    x = samples(20, 200)
    single, double = (fit_em(data, 2, rng=generator(3), n_steps=5) for data in (x.float(), x))
    assert single.model.means.dtype == torch.float32
    torch.testing.assert_close(single.model.covs.double(), double.model.covs, rtol=1e-4, atol=1e-4)


# Where digits would be lost


def test_tight_component_far_from_the_origin_keeps_its_digits():
    """Standard deviations of 1e-5 at a distance of 1e3: the moment form has no digit left."""
    tight = 1e-5 * samples(21, 300) + torch.tensor([1e3, -2e3])
    wide = samples(22, 500)
    x = torch.cat([tight, wide])
    start = m_step(
        x,
        (torch.arange(800) < 300).double()[:, None] * torch.tensor([1.0, -1])
        + torch.tensor([0.0, 1]),
    )
    result = fit_em(x, 2, rng=generator(0), n_steps=3, tolerance=0.0, initial=start)
    truth = np.cov(tight.T, bias=True)
    error = np.abs(result.model.covs[0].numpy() - truth).max() / np.abs(truth).max()
    assert error < 1e-6  # the rounding of x itself, 1e-13, against a deviation of 1e-5
    centred = x - x.mean(0)
    second = centred[:300].mT @ centred[:300] / 300
    mean = centred[:300].mean(0)
    naive = (second - mean[:, None] * mean).numpy()
    assert np.abs(naive - truth).max() / np.abs(truth).max() > 1e-2


def test_many_dimensions_go_the_plain_way(monkeypatch):
    x = samples(31, 300, dim=101)
    monkeypatch.setattr(em, "expected_moments", None)  # would need 5253 features
    start = seed_mixture(x, 2, rng=generator(0))
    result = fit_em(x, 2, rng=generator(0), n_steps=1, tolerance=0.0, initial=start, ridge=0.1)
    model = m_step(x, e_step(start, x), ridge=0.1)
    assert_same(result.model, model.weights, model.means, model.covs, rtol=1e-9, atol=1e-9)


def test_fast_form_steps_aside_when_a_component_tightens(monkeypatch):
    """From a wide start both components tighten on the way: fast first, plain afterwards."""
    x = torch.cat([1e-4 * samples(23, 100), 1e-4 * samples(24, 140) + 50.0])
    start = seed_mixture(x, 2, rng=generator(0), ridge=1.0)
    plain_steps = []
    monkeypatch.setattr(
        em, "m_step", lambda *args, **options: plain_steps.append(1) or m_step(*args, **options)
    )
    trace = fit_em(x, 2, rng=generator(0), n_steps=6, tolerance=0.0, initial=start)
    assert 0 < len(plain_steps) <= 6
    model = start
    for _ in range(6):
        model = m_step(x, e_step(model, x))
    assert_same(trace.model, model.weights, model.means, model.covs, rtol=1e-7, atol=1e-18)


# The ridge


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(1e-3, 3.0))
def test_ridge_maximises_the_penalised_q(seed, ridge):
    """No change of the covariances from the M-step with a ridge raises Q minus the penalty."""
    x, gamma = samples(seed, 60), random_responsibilities(seed + 1, 60, 3)
    share = gamma.mean(0)

    def penalised(covs):
        normal = torch.distributions.MultivariateNormal(best.means, covs)
        q = (gamma * normal.log_prob(x[:, None])).sum(1).mean()
        traces = torch.linalg.inv(covs).diagonal(dim1=1, dim2=2).sum(1)
        return q - 0.5 * ridge * (share * traces).sum()

    best = m_step(x, gamma, ridge=ridge)
    covs = best.covs.clone().requires_grad_()
    value = penalised(covs)
    (gradient,) = torch.autograd.grad(value, covs)
    assert gradient.abs().max() < 1e-10
    for factor in (0.9, 1.1):
        assert penalised(factor * covs) < value


def test_ridge_carries_em_through_data_on_a_line():
    x = samples(25, 80, dim=1) @ torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    result = fit_em(x, 2, rng=generator(0), ridge=1e-3)
    assert torch.linalg.eigvalsh(result.model.covs)[:, 0].allclose(torch.tensor(1e-3).double())


# What is refused


@pytest.mark.bad_input
def test_collapse_is_refused_by_name():
    """One sample apart from the others: its component becomes a point."""
    x = torch.cat([samples(26, 50), torch.tensor([[80.0, 80.0]], dtype=torch.float64)])
    means = torch.stack([x[:50].mean(0), x[50]])
    half = torch.full((2,), 0.5, dtype=torch.float64)
    start = GaussianMixture(half, means, torch.eye(2).double().expand(2, 2, 2))
    with pytest.raises(ValueError, match=r"component 1 has collapsed.*ridge > 0 or fewer"):
        fit_em(x, 2, rng=generator(0), initial=start)
    assert fit_em(x, 2, rng=generator(0), initial=start, ridge=1e-3).converged


@pytest.mark.bad_input
def test_collapse_onto_a_line_is_refused_by_name():
    line = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.3])
    x = torch.cat([line + 40, samples(27, 50)])
    means = torch.stack([line[0] + 40, x[30:].mean(0)])
    half = torch.full((2,), 0.5, dtype=torch.float64)
    start = GaussianMixture(half, means, torch.eye(2).double().expand(2, 2, 2))
    with pytest.raises(ValueError, match=r"component 0 has collapsed.*eigenvalue zero up to"):
        fit_em(x, 2, rng=generator(0), initial=start)


@pytest.mark.bad_input
def test_empty_component_is_refused_by_name():
    x = samples(28, 50)
    means = torch.tensor([[0.0, 0.0], [1e6, 1e6]], dtype=torch.float64)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    start = GaussianMixture(half, means, torch.eye(2).double().expand(2, 2, 2))
    with pytest.raises(ValueError, match=r"component 1 holds no sample.*fewer components"):
        fit_em(x, 2, rng=generator(0), initial=start)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("n_components", "options", "match"),
    [
        (13, {}, "number of samples, 12"),
        (0, {}, "n_components must be at least 1"),
        (2, {"ridge": -1.0}, "ridge must be"),
        (2, {"ridge": float("nan")}, "ridge must be"),
        (2, {"tolerance": -1e-3}, "tolerance must be"),
        (2, {"n_steps": -1}, "n_steps must be"),
        (2, {"initial": random_mixture(1, 3, 2)}, "initial must have 2 components"),
        (2, {"initial": random_mixture(1, 2, 3)}, "in 2 dimensions"),
        (12, {}, "no room for 12 components.*ridge > 0"),
    ],
)
def test_bad_settings_are_refused(n_components, options, match):
    with pytest.raises(ValueError, match=match):
        fit_em(samples(29, 12), n_components, rng=generator(0), **options)


@pytest.mark.bad_input
def test_bad_data_are_refused():
    x = samples(30, 12)
    rng = generator(0)
    with pytest.raises(ValueError, match="x must be finite"):
        fit_em(torch.where(x == x[3, 1], float("nan"), x), 2, rng=rng)
    with pytest.raises(ValueError, match="x must have shape"):
        fit_em(x[:, 0], 2, rng=rng)
    with pytest.raises(TypeError, match="floating-point"):
        fit_em(x.to(torch.int64), 2, rng=rng)
    with pytest.raises(ValueError, match="only 3 distinct rows; use at most 3"):
        fit_em(x[:3].repeat(5, 1), 4, rng=rng, ridge=0.1)
    with pytest.raises(TypeError, match="n_components must be an integer"):
        fit_em(x, 2.0, rng=rng)
    with pytest.raises(ValueError, match="x must be finite"):
        seed_mixture(x / 0, 2, rng=rng)
    gamma = random_responsibilities(1, 12, 2)
    with pytest.raises(ValueError, match=r"responsibilities must have shape \(12, 3\)"):
        q_function(random_mixture(1, 3, 2), x, gamma)
    with pytest.raises(ValueError, match="responsibilities must sum to one"):
        m_step(x, 2 * gamma)
    with pytest.raises(ValueError, match=r"responsibilities must have shape \(12, \*\)"):
        m_step(x, gamma[:5])
    with pytest.raises(ValueError, match="at least one sample"):
        m_step(x[:0], gamma[:0])
