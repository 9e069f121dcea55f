import pytest
import torch

from lecture_pkg._states import enumerate_states
from lecture_pkg.models.lattice import IsingLattice, edwards_anderson
from lecture_pkg.sampling.exchange import ExchangeState
from lecture_pkg.sampling.lattice_exchange import lattice_exchange_monte_carlo
from lecture_pkg.sampling.round_trips import round_trips

BETAS = torch.tensor([0.15, 0.3, 0.5, 0.8], dtype=torch.float64)


def glass(rng, magnitude=1.0):
    lattice = edwards_anderson(4, 4, rng=rng, dtype=torch.float64)
    return IsingLattice(magnitude * lattice.right.detach(), magnitude * lattice.down.detach())


@pytest.mark.parametrize(("n_replicas", "n_sweeps"), [(3, 3000), (8, 2000), (64, 600), (150, 300)])
def test_energies_and_acceptance_agree_with_enumeration(n_replicas, n_sweeps, rng):
    lattice = glass(rng, magnitude=0.8)
    states = enumerate_states(0, 2**16, 16, "spin")
    energies, degeneracy = lattice.energy(states).detach().unique(return_counts=True)
    log_weight = degeneracy.double().log() - BETAS[:, None] * energies
    q = log_weight.softmax(1)  # (temperatures, energies)
    first = lattice_exchange_monte_carlo(lattice, BETAS, 100, n_replicas=n_replicas, rng=rng)
    run = lattice_exchange_monte_carlo(
        lattice, BETAS, n_sweeps, n_replicas=n_replicas, initial=first.state, rng=rng
    )
    # At least 21 means: Student's t of 20 degrees exceeds 9 with probability 2e-8.
    assert ((run.mean_energy - q @ energies) / run.mean_energy_error).abs().max() < 9
    assert run.mean_energy_error.max() < 0.3
    for k in range(3):
        gain = (BETAS[k + 1] - BETAS[k]) * (energies - energies[:, None])  # E' - E
        truth = q[k] @ gain.exp().clamp(max=1) @ q[k + 1]
        # Each sweep of each replica counts at least a tenth: six deviations, false alarm 2e-9.
        allowed = 6 * 0.5 / (n_sweeps * n_replicas / 2 / 10) ** 0.5
        assert abs(run.acceptance[k] - truth) < allowed


@pytest.mark.parametrize("n_replicas", [2, 20])
def test_two_runs_are_one(n_replicas, rng):
    lattice = glass(rng)
    settings = {"n_replicas": n_replicas, "keep_every": 1}
    rng = torch.Generator().manual_seed(8)
    whole = lattice_exchange_monte_carlo(lattice, BETAS, 14, rng=rng, **settings)
    rng.manual_seed(8)
    half = lattice_exchange_monte_carlo(lattice, BETAS, 5, rng=rng, **settings)
    rest = lattice_exchange_monte_carlo(lattice, BETAS, 9, rng=rng, initial=half.state, **settings)
    assert torch.equal(whole.level, torch.cat([half.level, rest.level]))
    assert torch.equal(whole.x, torch.cat([half.x, rest.x]))
    assert torch.equal(whole.state.x, rest.state.x)
    assert torch.equal(whole.state.level, rest.state.level)
    assert whole.state.n_sweeps == rest.state.n_sweeps == 14


@pytest.mark.parametrize("n_replicas", [2, 20])
def test_levels_states_and_energies_belong_together(n_replicas, rng):
    lattice = glass(rng)
    run = lattice_exchange_monte_carlo(
        lattice, BETAS, 60, n_replicas=n_replicas, keep_every=1, rng=rng
    )
    assert run.x.shape == (60, 4, n_replicas, 16)
    order = torch.arange(4, dtype=torch.int16)[:, None].expand(4, n_replicas)
    assert (run.level.sort(1).values == order).all()
    by_level = run.state.x.take_along_dim(run.state.level.argsort(0)[..., None], 0)
    assert torch.equal(by_level, run.x[-1])
    mean = lattice.energy(run.x).detach().mean((0, 2))
    torch.testing.assert_close(run.mean_energy, mean)
    # Pairs take turns: in even sweeps nobody passes between the levels 1 and 2.
    crossed = (run.level[1:] > 1) != (run.level[:-1] > 1)
    assert not crossed[1::2].any()
    assert crossed[0::2].any()
    assert round_trips(run.level).number.shape == (4, n_replicas)


def test_nothing_is_kept_unless_asked(rng):
    run = lattice_exchange_monte_carlo(glass(rng), BETAS, 1, n_replicas=30, rng=rng)
    assert run.x.shape == (0, 4, 30, 16)
    assert torch.isnan(run.acceptance).tolist() == [False, True, False]


@pytest.mark.parametrize("n_replicas", [1, 20])
@pytest.mark.parametrize("n_temperatures", [2, 3])
def test_short_ladders_have_rounds_with_one_pair_or_none(n_replicas, n_temperatures, rng):
    settings = {"n_replicas": n_replicas, "rng": rng}
    run = lattice_exchange_monte_carlo(glass(rng), BETAS[:n_temperatures], 40, **settings)
    assert (run.acceptance > 0).all()
    assert (run.level != run.level[:1]).any()


@pytest.mark.bad_input
def test_bad_input_is_refused(rng):
    lattice = glass(rng)

    def run(lattice=lattice, betas=BETAS, n_sweeps=2, **settings):
        lattice_exchange_monte_carlo(lattice, betas, n_sweeps, rng=rng, **settings)

    with pytest.raises(ValueError, match="all above zero"):
        run(betas=torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="at least two"):
        run(betas=torch.tensor([1.0]))
    with pytest.raises(ValueError, match="increase"):
        run(betas=BETAS.flip(0))
    with pytest.raises(ValueError, match="one J > 0"):
        run(lattice=IsingLattice(torch.ones(4, 4), 2 * torch.ones(4, 4)))
    with pytest.raises(TypeError, match="IsingLattice"):
        run(lattice=lattice.to_boltzmann_machine())
    with pytest.raises(ValueError, match="n_sweeps must be at least 1"):
        run(n_sweeps=0)
    with pytest.raises(ValueError, match="keep_every must be at least 0"):
        run(keep_every=-1)
    level = torch.zeros(4, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="every level of betas once"):
        run(initial=ExchangeState(torch.ones(4, 1, 16), level, 0))
    with pytest.raises(ValueError, match=r"initial\.x must have shape"):
        run(initial=ExchangeState(torch.ones(4, 2, 16), level, 0))
