"""Section 6.1: work, free energies and paths, by visiting every path of a small driven system."""

import math

import pytest
import torch
from torch import Tensor

N_STATES, N_STEPS = 5, 3


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# E_t(x) of an asymmetric system without any symmetry in time or space: rows are times.
E = torch.stack(
    [
        vector(0.0, 0.4, -0.3, 0.9, 0.1),
        vector(1.1, -0.6, 0.2, 0.5, -0.4),
        vector(0.3, 1.4, -1.2, 0.0, 0.8),
        vector(-0.9, 0.7, 0.6, -1.6, 1.0),
    ]
)
P = (-E).softmax(1)
F = -(-E).logsumexp(1)
X = torch.cartesian_prod(*[torch.arange(N_STATES)] * (N_STEPS + 1))  # every path


def reversible(t: int) -> Tensor:
    """Metropolis with a symmetric proposal of any other state."""
    w = (E[t][None] - E[t][:, None]).exp().clamp(max=1) / N_STATES
    w.fill_diagonal_(0)
    return w + torch.diag(1 - w.sum(0))


def circulating(t: int) -> Tensor:
    """Balance only: a current runs round the ring of states."""
    w = reversible(t)
    current = 0.5 * (P[t] * w.diag()).min()
    for x in range(N_STATES):
        w[x, x] -= current / P[t, x]
        w[(x + 1) % N_STATES, x] += current / P[t, x]
    return w


MATRICES = {"reversible": reversible, "circulating": circulating}


def path_probability(matrix) -> Tensor:
    probability = P[0, X[:, 0]]
    for t in range(1, N_STEPS + 1):
        probability = probability * matrix(t - 1)[X[:, t], X[:, t - 1]]
    return probability


def reverse_path_probability(matrix) -> Tensor:
    """The same paths walked backwards from P_T, by the time-reversed moves."""
    probability = P[N_STEPS, X[:, N_STEPS]]
    for t in range(N_STEPS, 0, -1):
        w = matrix(t - 1)
        reversed_w = w.T * P[t - 1][:, None] / P[t - 1][None]
        probability = probability * reversed_w[X[:, t - 1], X[:, t]]
    return probability


def work_of_paths() -> Tensor:
    return sum(E[t, X[:, t]] - E[t - 1, X[:, t]] for t in range(1, N_STEPS + 1))


@pytest.mark.equation("6.8")
@pytest.mark.parametrize("name", MATRICES)
def test_paths_have_a_probability_and_lag_behind(name):
    probability = path_probability(MATRICES[name])
    assert abs(float(probability.sum()) - 1) < 1e-12
    # The last state is distributed as the matrices say, and not yet as P_{T-1} or P_T.
    end = torch.zeros(N_STATES).double().index_add_(0, X[:, -1], probability)
    moved = P[0]
    for t in range(N_STEPS):
        moved = MATRICES[name](t) @ moved
    assert torch.allclose(end, moved, atol=1e-14)
    assert (end - P[N_STEPS]).abs().max() > 0.05


@pytest.mark.equation("6.9")
def test_work_and_heat_make_up_the_change_of_energy():
    heat = sum(E[t - 1, X[:, t]] - E[t - 1, X[:, t - 1]] for t in range(1, N_STEPS + 1))
    change = E[N_STEPS, X[:, N_STEPS]] - E[0, X[:, 0]]
    assert torch.allclose(work_of_paths() + heat, change, atol=1e-14)
    assert work_of_paths().std() > 0.1
    assert heat.std() > 0.1


@pytest.mark.equation("6.10")
@pytest.mark.parametrize("name", MATRICES)
def test_jarzynski(name):
    probability = path_probability(MATRICES[name])
    mean = (probability * (-work_of_paths()).exp()).sum()
    ratio = (-E[N_STEPS]).exp().sum() / (-E[0]).exp().sum()
    assert abs(float(mean / ratio) - 1) < 1e-12
    # A matrix that keeps another distribution does not do.
    wrong = path_probability(lambda t: reversible(0))
    assert abs(float((wrong * (-work_of_paths()).exp()).sum() / ratio) - 1) > 1e-3


@pytest.mark.equation("6.11")
@pytest.mark.parametrize("name", MATRICES)
def test_second_law(name):
    mean_work = (path_probability(MATRICES[name]) * work_of_paths()).sum()
    assert mean_work > F[N_STEPS] - F[0] + 0.01
    # Some paths must do less, or the mean of exp(-W) could not be exp(-ΔF).
    assert bool((work_of_paths() < F[N_STEPS] - F[0]).any())


@pytest.mark.equation("6.12")
@pytest.mark.parametrize("name", MATRICES)
def test_crooks_for_paths_and_for_works(name):
    forward = path_probability(MATRICES[name])
    reverse = reverse_path_probability(MATRICES[name])
    work, difference = work_of_paths(), F[N_STEPS] - F[0]
    assert abs(float(reverse.sum()) - 1) < 1e-12
    walked = forward > 0
    ratio = (forward / reverse)[walked].log()
    assert torch.allclose(ratio, (work - difference)[walked], atol=1e-12)
    values, which = work.mul(1e9).round().unique(return_inverse=True)
    of_work = torch.zeros(2, len(values)).double()
    of_work[0].index_add_(0, which, forward)
    of_work[1].index_add_(0, which, reverse)
    seen = of_work[0] > 0
    log_ratio = (of_work[0] / of_work[1])[seen].log()
    assert torch.allclose(log_ratio, values[seen] / 1e9 - difference, atol=1e-8)


def test_for_reversible_moves_the_reverse_is_made_by_the_same_matrices():
    for t in range(N_STEPS):
        w = reversible(t)
        assert torch.allclose(w, w.T * P[t][:, None] / P[t][None], atol=1e-14)
        v = circulating(t)
        assert not torch.allclose(v, v.T * P[t][:, None] / P[t][None], atol=1e-3)


@pytest.mark.equation("6.13")
@pytest.mark.parametrize("name", MATRICES)
def test_dissipation_is_the_divergence_of_the_paths(name):
    forward = path_probability(MATRICES[name])
    reverse = reverse_path_probability(MATRICES[name])
    dissipated = (forward * work_of_paths()).sum() - (F[N_STEPS] - F[0])
    walked = forward > 0
    divergence = (forward * (forward / reverse).log())[walked].sum()
    assert abs(float(dissipated - divergence)) < 1e-12


@pytest.mark.equation("6.14")
def test_effective_sample_size_is_what_equal_weights_would_need(rng):
    # A weighted mean of n independent values of unit variance has the variance 1 / n_eff.
    u = vector(0.1, 3.0, 0.7, 1.2, 0.05)
    n_eff = u.sum() ** 2 / u.square().sum()
    assert float((u / u.sum()).square().sum()) == pytest.approx(float(1 / n_eff))
    values = torch.randn(200_000, 5, generator=rng, dtype=torch.float64)
    variance = (values @ (u / u.sum())).var()
    # The relative error of a variance of 200 000 normal values is √(2/n): five of those.
    assert float(variance * n_eff) == pytest.approx(1, abs=5 * math.sqrt(2 / 200_000))
    # Gaussian works: n_eff / n → exp(-2 × dissipated work) = exp(-σ²), by quadrature.
    sigma = 0.8
    w = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    density = (-w.square() / (2 * sigma**2)).exp()
    density = density / density.sum()
    ratio = (density * (-w).exp()).sum() ** 2 / (density * (-2 * w).exp()).sum()
    assert float(ratio) == pytest.approx(math.exp(-(sigma**2)), rel=1e-9)


@pytest.mark.equation("6.15")
@pytest.mark.parametrize("name", MATRICES)
def test_the_two_directions_sandwich_log_z_for_pairs_of_paths(name):
    forward = path_probability(MATRICES[name])
    reverse = reverse_path_probability(MATRICES[name])
    work = work_of_paths()
    values, which = work.mul(1e9).round().unique(return_inverse=True)
    values = values / 1e9
    f = torch.zeros(len(values)).double().index_add_(0, which, forward)
    r = torch.zeros(len(values)).double().index_add_(0, which, reverse)
    log_z0, log_z = -F[0], -F[N_STEPS]

    def mean_log(p: Tensor, minus_work: Tensor) -> Tensor:
        """E ln ½(e^a + e^b) over independent pairs, every pair visited."""
        pair = torch.logaddexp(minus_work[:, None], minus_work[None]) - math.log(2)
        return p @ pair @ p

    one_below, one_above = log_z0 - f @ values, log_z0 - r @ values  # W_R = -W
    below, above = log_z0 + mean_log(f, -values), log_z0 - mean_log(r, values)
    assert one_below < below < log_z < above < one_above
