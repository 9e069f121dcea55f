import pytest
import torch

A = torch.tensor([[2.0, 1.0, 3.0], [1.0, 3.0, 2.0], [1.0, 1.0, 4.0]], dtype=torch.float64)
ADJUGATE = torch.tensor([[10.0, -1, -7], [-2, 5, -1], [-2, -1, 5]], dtype=torch.float64)
DETERMINANT = 12.0  # by hand, section 10.3


@pytest.mark.erratum("10-5")
def test_product_with_the_adjugate_is_a_matrix_not_the_determinant() -> None:
    product = A @ ADJUGATE
    torch.testing.assert_close(torch.linalg.det(A).item(), DETERMINANT)
    # Printed: det(A) = A Ã. A number against a matrix; no entry-wise reading saves it.
    assert product.shape == (3, 3)
    assert not torch.allclose(product, torch.full((3, 3), DETERMINANT, dtype=torch.float64))
    # Right: A Ã = Ã A = det(A) I.
    identity = torch.eye(3, dtype=torch.float64)
    assert torch.equal(product, DETERMINANT * identity)
    assert torch.equal(ADJUGATE @ A, DETERMINANT * identity)
    # What (10.7) needs from it.
    torch.testing.assert_close(ADJUGATE / DETERMINANT, torch.linalg.inv(A))
