"""The product that every sweep of an RBM spends its time in."""

import torch
from jaxtyping import Float
from torch import Tensor

# The float32 product of oneDNN, in torch for x86: where MKL takes its slow path (processors of
# other makers), it is twice as fast on large matrices. Elsewhere torch.addmm does the same.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_linear = torch.ops.mkldnn._linear_pointwise.default if _ONEDNN else None


def affine(
    x: Float[Tensor, "rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
) -> Float[Tensor, "rows outputs"]:
    """Compute x weightᵀ + bias by the fastest product there is; not differentiable."""
    if _linear is not None and x.dtype == torch.float32 and x.device.type == "cpu":
        return _linear(x, weight, bias, "none", [], "")
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
