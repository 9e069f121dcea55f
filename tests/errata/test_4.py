"""Section 4 of the document: which vectors of W stand in the two conditionals."""

import itertools

import pytest
import torch


@pytest.mark.erratum("4-4")
def test_the_hidden_units_see_the_columns_of_the_couplings() -> None:
    n_visible, n_hidden = 4, 3
    rng = torch.Generator().manual_seed(4)
    W = torch.randn(n_visible, n_hidden, generator=rng, dtype=torch.float64)
    b = torch.randn(n_visible, generator=rng, dtype=torch.float64)
    c = torch.randn(n_hidden, generator=rng, dtype=torch.float64)
    x = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)

    hidden = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=n_hidden)), dtype=W.dtype)
    enumerated = torch.exp(x @ W @ hidden.T + b @ x + hidden @ c).sum()

    def product(vectors: list[torch.Tensor]) -> torch.Tensor:
        factors = [2 * torch.cosh(v @ x + c[j]) for j, v in enumerate(vectors)]
        return torch.stack(factors).prod() * torch.exp(b @ x)

    torch.testing.assert_close(product([W[:, j] for j in range(n_hidden)]), enumerated)
    with pytest.raises(
        RuntimeError, match="inconsistent"
    ):  # a row has n_hidden entries, x has more
        product([W[j] for j in range(n_hidden)])
    square = W[:3]  # where the shapes happen to agree, the value is wrong
    b, x = b[:3], x[:3]
    enumerated = torch.exp(x @ square @ hidden.T + b @ x + hidden @ c).sum()
    torch.testing.assert_close(product([square[:, j] for j in range(3)]), enumerated)
    assert (product([square[j] for j in range(3)]) / enumerated - 1).abs() > 0.1


@pytest.mark.erratum("4-text")
def test_hidden_units_are_not_coupled_but_they_are_correlated() -> None:
    W = torch.tensor([[0.9, 0.7]], dtype=torch.float64)  # one data unit, two hidden units
    hidden = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=W.dtype)
    x = torch.tensor([[-1.0], [1.0]], dtype=W.dtype)
    q = torch.exp(x @ W @ hidden.T)
    q = q / q.sum()
    product = hidden[:, 0] * hidden[:, 1]
    mean = q.sum(0) @ hidden
    correlation = q.sum(0) @ product - mean[0] * mean[1]
    torch.testing.assert_close(correlation, torch.tanh(W).prod())
    assert correlation > 0.4  # printed: there is none
    for row in q:  # given x there is none, and that is what holds
        row = row / row.sum()
        mean = row @ hidden
        assert (row @ product - mean[0] * mean[1]).abs() < 1e-15
