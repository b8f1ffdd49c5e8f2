"""The loss after the last step as a function of the last state and of the readout's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from lyapkit.curvature.products.cotangents import grad_columns
from lyapkit.curvature.products.operators import BlockProduct, Operator, WeightedLoss
from lyapkit.losses.unrolled import UnrolledNetwork

HeadProduct = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Map from changes of x_T, shape (B, b, N), and of the parameters, (P, b), to derivatives of the same shapes."""


class Head:
    """w loss(f, targets) of the outputs f = readout(output(x_T)).

    It is only one step deep, so automatic differentiation costs little here.

    Args:
        network: The network.
        final: The final state x_T, shape (B, N).
        targets: Targets, as the loss reads them.
        weight: The weight w.
        loss: A callable ``loss(outputs, targets)``, a scalar.
        parameters: Candidates for the readout's parameters. Those that the loss at given x_T does not depend on are
            left out.

    Attributes:
        parameters: The parameters that the loss at given x_T depends on.
        outputs: The outputs f.
    """

    def __init__(
        self,
        network: UnrolledNetwork,
        final: Tensor,
        targets: Any,
        weight: float,
        loss: Callable[[Any, Any], Tensor],
        parameters: Mapping[str, nn.Parameter],
    ) -> None:
        self._state = nn.Parameter(final.detach())

        with torch.enable_grad():
            self.outputs = network.read(self._state)
            slopes = grad(loss(self.outputs, targets), list(parameters.values()), allow_unused=True, retain_graph=True)
        self.parameters = {
            name: parameter
            for (name, parameter), slope in zip(parameters.items(), slopes, strict=True)
            if slope is not None
        }
        variables = {"final state": self._state, **self.parameters}
        self._whole = WeightedLoss(network.read, variables, [(self._state, targets)], [weight], loss)
        seen = nn.Parameter(self.outputs.detach())
        self._outermost = WeightedLoss(lambda outputs: outputs, {"outputs": seen}, [(seen, targets)], [weight], loss)

    def gradient(self) -> Tensor:
        """Return the derivative with respect to x_T, shape (B, N)."""
        return self._whole.gradient()[: self._state.numel()].reshape(self._state.shape)

    def product(self, operator: Operator) -> HeadProduct:
        """Return a block product in (x_T, parameters) with the Hessian, its Gauss-Newton part, or the rest."""
        image = self._whole.product(operator)
        batch, size = self._state.shape

        def product(state: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
            stacked = state.transpose(1, 2).reshape(batch * size, -1).double()  # (B*N, b)
            result = image(torch.cat((stacked, parameters.double())))
            curved, rest = result[: batch * size], result[batch * size :]
            return curved.reshape(batch, size, -1).transpose(1, 2).to(state), rest

        return product

    def curvature(self) -> BlockProduct:
        """Return products with H_L, the Hessian with respect to the flattened outputs, (F, b) -> (F, b)."""
        return self._outermost.product("hessian")

    def pull(self, cotangents: Tensor) -> tuple[Tensor, Tensor]:
        """Pull cotangents of the outputs back to the last state and the parameters.

        Args:
            cotangents: Cotangents of the flattened outputs, shape (F, b).

        Returns:
            Cotangents of x_T, shape (B, b, N), and of the parameters, (P, b), float64.
        """
        rows = cotangents.T.reshape(-1, *self.outputs.shape).to(self.outputs)
        with torch.enable_grad():
            of_state, *rest = grad_columns([self.outputs], [self._state, *self.parameters.values()], [rows], at_once=64)
        flat = [part.flatten(1).T.double() for part in rest]
        return of_state.transpose(0, 1), torch.cat(flat) if flat else cotangents.new_empty(0, cotangents.shape[1])

    def push(self, parameters: Tensor) -> Tensor:
        """Push changes of the parameters, (P, b), forward to the flattened outputs, (F, b), at given x_T."""
        tensors = list(self.parameters.values())
        if not tensors:
            return parameters.new_zeros(self.outputs.numel(), parameters.shape[1])
        split = torch.split(parameters.T, [tensor.numel() for tensor in tensors], dim=1)
        rows = [part.reshape(-1, *tensor.shape).to(tensor) for part, tensor in zip(split, tensors, strict=True)]
        with torch.enable_grad():
            cotangent = torch.zeros_like(self.outputs, requires_grad=True)
            pulled = grad(
                self.outputs, tensors, cotangent, create_graph=True, materialize_grads=True, retain_graph=True
            )
            (pushed,) = grad_columns(pulled, [cotangent], rows, at_once=64)
        return pushed.flatten(1).T.to(parameters)
