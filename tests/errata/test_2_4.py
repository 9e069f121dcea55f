"""Corrections of section 2.4 of the lecture notes."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

MEAN = np.array([0.5, -1.0])
COV = np.array([[2.0, -0.9], [-0.9, 1.1]])
DATA = np.array([[0.1, -2.0], [1.7, -1.1], [-0.4, 0.3], [2.2, -3.0]])


@pytest.mark.erratum("2-17")
def test_change_of_variables_needs_an_orthogonal_matrix() -> None:
    """Printed: some square matrix P with P⁻¹Σ⁻¹P = Λ. That alone does not give (2.18).

    Any eigenvectors satisfy it, of whatever lengths. Then neither is the energy ½ yᵀΛy nor the
    Jacobian one; in the value of Z the two mistakes cancel, in the integrand they do not.
    """
    precision = np.linalg.inv(COV)
    eigenvalues, orthogonal = np.linalg.eigh(precision)
    stretched = orthogonal @ np.diag([3.0, 0.5])
    point = DATA[0] - MEAN
    energy = 0.5 * point @ precision @ point
    for p in (orthogonal, stretched):  # both pass what is printed
        np.testing.assert_allclose(
            np.linalg.inv(p) @ precision @ p, np.diag(eigenvalues), atol=1e-13
        )
    y = np.linalg.inv(stretched) @ point
    assert 0.5 * (eigenvalues * y**2).sum() != pytest.approx(energy, rel=0.1)
    assert abs(np.linalg.det(stretched)) == pytest.approx(1.5)

    y = np.linalg.inv(orthogonal) @ point
    assert 0.5 * (eigenvalues * y**2).sum() == pytest.approx(energy, rel=1e-12)
    assert abs(np.linalg.det(orthogonal)) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.erratum("2-22")
def test_logarithm_before_the_model() -> None:
    """Printed: ∫ p0 (ln p0 - q). Without the logarithm it is not the right-hand side of (2.22)."""
    scales = [1.0, 3.0]
    right_side, printed, corrected = [], [], []
    for scale in scales:
        difference = DATA - MEAN
        energy = np.einsum("ni,ij,nj->n", difference, np.linalg.inv(scale * COV), difference) / 2
        right_side.append(energy.mean() + 0.5 * np.log(np.linalg.det(scale * COV)))
        density = multivariate_normal(MEAN, scale * COV).pdf(DATA)
        printed.append(-density.mean())
        corrected.append(-np.log(density).mean())
    # Only what depends on θ counts: compare the change between two values of it.
    assert np.diff(corrected)[0] == pytest.approx(np.diff(right_side)[0], rel=1e-12)
    assert np.diff(printed)[0] != pytest.approx(np.diff(right_side)[0], rel=0.5)
