"""Maximum likelihood with exact model averages: the gradient that all others approximate."""

import torch
from jaxtyping import Float, Real
from torch import Tensor

from lecture_pkg.exact import log_likelihood


class ExactLikelihood:
    """Gradient of D_KL(p0‖q_θ) by enumerating the model's states; for `lecture_pkg.learning.fit`.

    Equations (2.27), (2.28), (2.29), section 2.5: minus the mean over the data plus the mean
    over the model, for whatever the energy depends on. Subtracting η times this gradient is the
    update (2.30).
    """

    def __call__(self, model: torch.nn.Module, x: Real[Tensor, "n dim"]) -> Float[Tensor, ""]:
        """Write the gradient to `.grad` of the parameters and return the objective.

        Args:
            model: an energy model that `lecture_pkg.exact` can enumerate.
            x: data in the model's units, one sample a row.

        Returns:
            The mean negative log-likelihood in nats, which is D_KL(p0‖q_θ) plus the entropy
            of p0, a constant.

        Raises:
            TypeError: if `x` is not a tensor.
            ValueError: if `x` does not fit the model or is outside its units, or if the model
                is too large to enumerate.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]
        with torch.enable_grad():
            objective = -log_likelihood(model, x)  # type: ignore[arg-type]
            gradients = torch.autograd.grad(objective, parameters, materialize_grads=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return objective.detach()
