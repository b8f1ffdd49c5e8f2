"""Curvature operators of a loss: products of the Hessian, the Gauss-Newton matrix and their difference with a vector.

Eq. (7) of Dubinin & Effenberger (2024), after Schraudolph (2002):

    H = J^T H_L J + sum_n (dL/df_n) Hess(f_n),

the generalised Gauss-Newton (GGN) matrix, with J the Jacobian of the network's outputs with respect to its
parameters and H_L the Hessian of the loss with respect to the outputs, and a residual term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad


@dataclass(frozen=True)
class WeightedLoss:
    """A loss over batches: sum_b w_b loss(network(inputs_b), targets_b).

    Attributes:
        network: from inputs to outputs.
        parameters: the tensors the curvature is taken with respect to, by name.
        batches: (inputs, targets) pairs.
        weights: one per batch.
        loss: ``loss(outputs, targets)``, a scalar.
    """

    network: Callable[[Any], Any]
    parameters: Mapping[str, nn.Parameter]
    batches: Sequence[tuple[Any, Any]]
    weights: Sequence[float]
    loss: Callable[[Any, Any], Tensor]

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def tensors(self) -> list[nn.Parameter]:
        """The parameters in order."""
        return list(self.parameters.values())

    def gradient(self) -> Tensor:
        """The gradient, shape (P,), float64."""
        return self._sum(
            lambda outputs, targets: grad(self.loss(outputs, targets), self.tensors, materialize_grads=True)
        )

    def hessian(self) -> Callable[[Tensor], Tensor]:
        """The map v -> H v by double backward, (P,) -> (P,).

        The parameters do not change while it is in use. With a single batch the graph of its gradient is therefore
        built once and kept, which needs no more memory at the peak than one product does; with several batches it is
        built anew for every product.
        """
        if len(self.batches) > 1:
            return lambda vector: self._sum(
                lambda outputs, targets: self._differentiate(self._gradient_graph(outputs, targets), vector)
            )
        ((inputs, targets),) = self.batches
        with torch.enable_grad():
            gradients = self._gradient_graph(self.network(inputs), targets)
        return lambda vector: _flatten(self._differentiate(gradients, vector))

    def _gradient_graph(self, outputs: Any, targets: Any) -> tuple[Tensor, ...]:
        return grad(self.loss(outputs, targets), self.tensors, create_graph=True, materialize_grads=True)

    def _differentiate(self, gradients: Sequence[Tensor], vector: Tensor) -> Sequence[Tensor]:
        """d(gradient . v)/d(parameters)."""
        with torch.enable_grad():
            slope = _inner(gradients, self._split(vector))
            if not slope.requires_grad:  # the loss is linear in the parameters
                return [torch.zeros_like(tensor) for tensor in self.tensors]
            return grad(slope, self.tensors, retain_graph=True, materialize_grads=True)

    def ggn(self) -> Callable[[Tensor], Tensor]:
        """The map v -> J^T H_L J v, (P,) -> (P,), with J v as the derivative of the linear map u -> J^T u."""
        return self._ggn_product

    def _ggn_product(self, vector: Tensor) -> Tensor:
        tangents = self._split(vector)

        def product(outputs: Tensor, targets: Any) -> Sequence[Tensor]:
            cotangent = torch.zeros_like(outputs, requires_grad=True)
            pulled = grad(outputs, self.tensors, cotangent, create_graph=True, materialize_grads=True)
            (pushed,) = grad(_inner(pulled, tangents), cotangent, materialize_grads=True)
            seen = outputs.detach().requires_grad_()
            (slope,) = grad(self.loss(seen, targets), seen, create_graph=True, materialize_grads=True)
            if not slope.requires_grad:  # a loss that is linear in the outputs has no curvature of its own
                return [torch.zeros_like(tensor) for tensor in self.tensors]
            (curved,) = grad(slope, seen, pushed, materialize_grads=True)
            return grad(outputs, self.tensors, curved, materialize_grads=True)

        return self._sum(product)

    def residual(self) -> Callable[[Tensor], Tensor]:
        """The map v -> (H - J^T H_L J) v, (P,) -> (P,)."""
        hessian = self.hessian()
        return lambda vector: hessian(vector) - self._ggn_product(vector)

    def _sum(self, term: Callable[[Any, Any], Sequence[Tensor]]) -> Tensor:
        first = self.tensors[0]
        total = torch.zeros(self.size, dtype=torch.float64, device=first.device)
        with torch.enable_grad():
            for (inputs, targets), weight in zip(self.batches, self.weights, strict=True):
                parts = term(self.network(inputs), targets)
                total += weight * _flatten(parts)
        return total

    def _split(self, vector: Tensor) -> list[Tensor]:
        parts = torch.split(vector, [tensor.numel() for tensor in self.tensors])
        return [part.reshape(tensor.shape).to(tensor) for part, tensor in zip(parts, self.tensors, strict=True)]


def _flatten(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().reshape(-1).double() for part in parts])


def _inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
