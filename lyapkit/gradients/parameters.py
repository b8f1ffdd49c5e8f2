"""Contributions of every time step to the gradient of each parameter tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lyapkit.gradients.adjoint import StepGradient
from lyapkit.gradients.loss import TrajectoryLoss
from lyapkit.gradients.scaled import Scaled
from lyapkit.losses.unrolled import UnrolledNetwork
from lyapkit.recurrent_map import RecurrentMap


def trained_parameters(map: RecurrentMap, readout: Callable[[Tensor], Tensor]) -> dict[str, nn.Parameter]:
    """Return the parameters of map and readout that require gradients, each once, under its first name.

    Raises:
        ValueError: If there are none.
    """
    by_identity: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter in UnrolledNetwork(map, readout).named_parameters():
        by_identity.setdefault(id(parameter), (name, parameter))
    trained = {name: parameter for name, parameter in by_identity.values() if parameter.requires_grad}
    if not trained:
        raise ValueError(
            "there are no parameters that require gradients in map and readout, so they have no contributions. Leave "
            "parameter_gradients out, or call .requires_grad_() on the parameters."
        )
    return trained


class ParameterGradients:
    """Norms of the contributions of every step, and of their sum, the gradient of the loss.

    Args:
        parameters: The P parameter tensors.
        loss: The loss, for the contributions of its readout.
        steps: Number of steps T.

    Attributes:
        log_norm: Log 2-norm of the contribution of step t, shape (P, T).
    """

    def __init__(self, parameters: dict[str, nn.Parameter], loss: TrajectoryLoss, steps: int) -> None:
        self.tensors = list(parameters.values())
        self.log_norm = torch.full((len(self.tensors), steps), -torch.inf, dtype=torch.float64, device="cpu")
        self._loss = loss
        self._sum = [Scaled.zeros(torch.Size((1, tensor.numel())), tensor.device) for tensor in self.tensors]

    def add(self, arrived: StepGradient) -> None:
        """Add the contribution of a step."""
        contributions = arrived.parameters
        own = self._loss.of_parameters(arrived.step, arrived.state, self.tensors)
        if own is not None:
            both = zip(contributions, own, strict=True)
            contributions = [carried + Scaled.of(part.reshape(1, -1)) for carried, part in both]
        for index, contribution in enumerate(contributions):
            self.log_norm[index, arrived.step - 1] = contribution.log_norm(2)[0]
            self._sum[index] = self._sum[index] + contribution

    def log_norm_of_sum(self) -> Tensor:
        """Return the logarithms of |dL/dtheta|, shape (P,)."""
        return torch.stack([total.log_norm(2)[0] for total in self._sum]).cpu()
