"""Curvature operators of a loss: block products with the Hessian, its Gauss-Newton part, and the rest.

Eq. (7) of Dubinin & Effenberger (2024), after Schraudolph (2002):

    H = J^T H_L J + sum_n (dL/df_n) Hess(f_n),

The first term is the generalised Gauss-Newton (GGN) matrix. J is the Jacobian of the network's outputs with respect to
its parameters, and H_L the Hessian of the loss with respect to the outputs. The second is the residual term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.autograd import grad

from lyapkit.checks.clause import clause
from lyapkit.curvature.products.cotangents import grad_columns

Operator = Literal["hessian", "ggn", "residual"]
"""H, its Gauss-Newton part J^T H_L J, or H - J^T H_L J."""

OPERATORS: tuple[Operator, ...] = get_args(Operator)

BlockProduct: TypeAlias = Callable[[Tensor], Tensor]
"""A linear map applied to the columns of a float64 matrix, (P, b) -> (P, b)."""

_Term: TypeAlias = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""The product with one batch's term, from stacks (b, *shape) to stacks, one for every parameter."""


@dataclass(frozen=True)
class WeightedLoss:
    """A loss over batches: sum_b w_b loss(network(inputs_b), targets_b).

    Attributes:
        network: Function from inputs to outputs.
        parameters: The tensors that the curvature is taken with respect to, by name.
        batches: Pairs (inputs, targets).
        weights: One per batch.
        loss: A callable ``loss(outputs, targets)``, a scalar.
        columns: Number of columns of a block that are differentiated together; memory grows with it.
    """

    network: Callable[[Any], Any]
    parameters: Mapping[str, nn.Parameter]
    batches: Sequence[tuple[Any, Any]]
    weights: Sequence[float]
    loss: Callable[[Any, Any], Tensor]
    columns: int = 8

    @property
    def size(self) -> int:
        """Number of parameters P."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def tensors(self) -> list[nn.Parameter]:
        """The parameters in order."""
        return list(self.parameters.values())

    def gradient(self) -> Tensor:
        """Return the gradient, shape (P,), float64.

        Raises:
            ValueError: If network or loss cannot take a later batch; the message says which.
        """
        total = self._zeros()
        with torch.enable_grad():
            for number, ((inputs, targets), weight) in enumerate(self._terms(), start=1):
                try:
                    part = _flatten(self._gradient(self.network(inputs), targets, create_graph=False))
                except torch.OutOfMemoryError:
                    raise
                except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
                    if number == 1:
                        raise
                    raise ValueError(
                        f"batch {number} of {len(self.batches)} cannot be used, unlike those before it: "
                        f"{clause(error)}. Give all batches inputs and targets with the types and shapes of the first."
                    ) from error
                total += weight * part
        return total

    @torch.no_grad()
    def outputs(self) -> list[Tensor]:
        """Return the network's outputs for every batch, without derivatives.

        Raises:
            TypeError: If they are not tensors.
        """
        return [_tensor(self.network(inputs)) for inputs, _ in self.batches]

    def product(self, operator: Operator) -> BlockProduct:
        """Return the map V -> A V of an operator A, (P, b) -> (P, b).

        H V is found by double backward. For G = J^T H_L J, J V is the derivative of the linear map u -> J^T u. The
        parameters do not change while a product is in use. The graph of the gradient of a single batch is therefore
        built once and kept, which needs no more memory at the peak than one product does. With several batches it is
        built anew for every block.

        Args:
            operator: A.

        Raises:
            TypeError: If the network's outputs are not one tensor, unless A is the Hessian.
        """
        if operator == "hessian":
            return self._summed(self._hessian_term)
        ggn = self._summed(self._ggn_term)
        if operator == "ggn":
            return ggn
        hessian = self.product("hessian")
        return lambda block: hessian(block) - ggn(block)

    def _hessian_term(self, outputs: Any, targets: Any) -> _Term:
        gradients = self._gradient(outputs, targets, create_graph=True)
        return lambda tangents: grad_columns(gradients, self.tensors, tangents, at_once=self.columns)

    def _ggn_term(self, outputs: Any, targets: Any) -> _Term:
        outputs = _tensor(outputs)
        cotangent = torch.zeros_like(outputs, requires_grad=True)
        pulled = grad(outputs, self.tensors, cotangent, create_graph=True, materialize_grads=True)
        seen = outputs.detach().requires_grad_()
        (slope,) = grad(self.loss(seen, targets), seen, create_graph=True, materialize_grads=True)

        def term(tangents: Sequence[Tensor]) -> Sequence[Tensor]:
            pushed = grad_columns(pulled, [cotangent], tangents, at_once=self.columns)
            curved = grad_columns([slope], [seen], pushed, at_once=self.columns)
            return grad_columns([outputs], self.tensors, curved, at_once=self.columns)

        return term

    def _summed(self, prepare: Callable[[Any, Any], _Term]) -> BlockProduct:
        """Return the weighted sum of the batches' terms; the term of a single batch is prepared once."""
        kept = None
        if len(self.batches) == 1:
            ((inputs, targets),) = self.batches
            with torch.enable_grad():
                kept = prepare(self.network(inputs), targets)

        def product(block: Tensor) -> Tensor:
            total = self._zeros(block.shape[1])
            tangents = self._split(block)
            with torch.enable_grad():
                for (inputs, targets), weight in self._terms():
                    term = prepare(self.network(inputs), targets) if kept is None else kept
                    parts = term(tangents)
                    total += (
                        weight
                        * torch.cat([part.detach().reshape(block.shape[1], -1).double() for part in parts], dim=1).T
                    )
            return total

        return product

    def _gradient(self, outputs: Any, targets: Any, *, create_graph: bool) -> tuple[Tensor, ...]:
        return grad(self.loss(outputs, targets), self.tensors, create_graph=create_graph, materialize_grads=True)

    def _terms(self) -> Iterator[tuple[tuple[Any, Any], float]]:
        return zip(self.batches, self.weights, strict=True)

    def _zeros(self, *columns: int) -> Tensor:
        return torch.zeros(self.size, *columns, dtype=torch.float64, device=self.tensors[0].device)

    def _split(self, block: Tensor) -> list[Tensor]:
        """Return the columns as stacks with the shapes of the parameters, (P, b) -> [(b, *shape), ...]."""
        parts = torch.split(block.T, [tensor.numel() for tensor in self.tensors], dim=1)
        return [part.reshape(-1, *tensor.shape).to(tensor) for part, tensor in zip(parts, self.tensors, strict=True)]


def _flatten(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().reshape(-1).double() for part in parts])


def _tensor(outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise TypeError(
            "the Gauss-Newton matrix and the residual are defined for a model that returns one tensor, got "
            f"{type(outputs).__name__}. Return one tensor, or take the Hessian."
        )
    return outputs
