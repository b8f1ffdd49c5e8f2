"""Do a step of SGD for several networks at once, in a few launches for any number of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gradient_norms(networks: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the 2-norm of the gradients of each network, shape (K,).

    Args:
        networks: Parameters of the networks, of which equally many have a gradient.
    """
    gradients = [parameter.grad for network in networks for parameter in network if parameter.grad is not None]
    norms: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)).view(len(networks), -1), dim=1)
    return norms


def descend(optimizers: Sequence[torch.optim.SGD]) -> None:
    """Do a step of every optimizer, equal to its own ``step`` up to rounding.

    Args:
        optimizers: Optimizers of SGD with a learning rate and a momentum, without dampening, Nesterov's method or
            weight decay.
    """
    parameters: list[Tensor] = []
    directions: list[Tensor] = []
    rates: list[float] = []
    buffers: list[Tensor] = []
    gradients: list[Tensor] = []
    momenta: list[float] = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if (direction := parameter.grad) is None:
                    continue
                if group["momentum"]:
                    gradients.append(direction)
                    direction = optimizer.state[parameter].get("momentum_buffer")
                    if direction is None:
                        direction = optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                    buffers.append(direction)
                    momenta.append(group["momentum"])
                parameters.append(parameter)
                directions.append(direction)
                rates.append(-group["lr"])
    with torch.no_grad():
        if buffers:
            torch._foreach_mul_(buffers, momenta)
            torch._foreach_add_(buffers, gradients)
        if parameters:
            torch._foreach_add_(parameters, torch._foreach_mul(directions, rates))
