"""Corrections of section 2.1 of the lecture notes."""

import pytest
import torch
from scipy.special import rel_entr


def divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    return float(rel_entr(p.numpy(), q.numpy()).sum())


@pytest.mark.erratum("2-1-B")
def test_divergence_can_be_symmetric_for_different_distributions() -> None:
    """Printed: D(p‖q) ≠ D(q‖p). It holds in general only, not for every pair."""
    p = torch.tensor([0.2, 0.8], dtype=torch.float64)
    q = p.flip(0)
    assert not torch.equal(p, q)
    assert divergence(p, q) == pytest.approx(divergence(q, p), rel=1e-14)

    other = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert abs(divergence(p, other) - divergence(other, p)) > 0.02


@pytest.mark.erratum("2-5")
def test_last_steps_are_inequalities_where_p_vanishes() -> None:
    """Printed: the chains (2.5) and (2.7) end in `= 0`. The terms run over p > 0 only."""
    p = torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64)
    q = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    shown = p > 0
    gibbs_end = float(p[shown].sum() - q[shown].sum())
    jensen_end = -float(q[shown].sum().log())
    # Printed equality fails ...
    assert gibbs_end == pytest.approx(0.3)
    assert jensen_end == pytest.approx(-torch.tensor(0.7).log().item())
    # ... the inequality holds, and the conclusion D ≥ 0 with it.
    assert divergence(p, q) >= jensen_end >= gibbs_end > 0
    # Equality returns when q keeps to the support of p.
    q = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
    assert float(p[shown].sum() - q[shown].sum()) == pytest.approx(0, abs=1e-15)
