"""One step of eqs. (11), (18) and (19) and its transpose, as operations on given buffers.

All of them work on K networks at once. The drive is u = W e with the extended state e = (x, 1, s, 0): the state, a one
for the biases, the input, and a zero where the length would be odd.

tanh u, which the weak coupling multiplies, is computed as 2 v - 1 with v = sigmoid(2 u), which PyTorch evaluates
several times as fast on the CPU. Its absolute error in float32 is 2e-7, as large as that of u itself. A state that goes
through tanh at every step, as in types A and B, would add up such errors; there it is tanh.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.training.adjoint.products import Bound, DenseProduct, stacked_product

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # gradient, v -> gradient v (1 - v)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # gradient, y -> gradient (1 - y^2)


class Recurrence(ABC):
    """A step of K networks of equal sizes and form.

    Attributes:
        kept: How many tensors of shape (K, B, N) a step leaves for its transpose, beside the states.
        drive_matrix: What extended states are multiplied with, shape (K, E, N).
        adjoint_matrix: What the adjoint of the drive is multiplied with, shape (K, N, N).
        gradient_scale: dL/dW is this times the sum over steps of the adjoint of the drive times e^T; (K, N, 1).
    """

    kept: int
    gradient_scale: Tensor

    def __init__(self, networks: Sequence[WCRNN], width: int) -> None:
        self.networks = tuple(networks)
        first = networks[0].recurrent.weight
        count, units = len(networks), len(first)
        self.drive_matrix = first.new_empty(count, width, units)
        self.adjoint_matrix = first.new_empty(count, units, units)
        self.coupling = first.new_empty(count, 1, units)
        self.product = stacked_product([network.residual for network in networks])

    def load(self, weight: Tensor) -> None:
        """Take over the present weights, shape (K, N, E), couplings and residuals."""
        for row, network in zip(self.coupling, self.networks, strict=True):
            row.copy_(network.coupling.expand(1, network.hidden_size))
        self.product.refresh()
        self._load(weight)

    @abstractmethod
    def _load(self, weight: Tensor) -> None:
        """Fill both matrices and the scale."""

    @abstractmethod
    def step(self, extended: Tensor, state: Tensor, kept: Sequence[Tensor], next_state: Tensor) -> list[Bound]:
        """What computes ``next_state`` and ``kept`` from the extended state, of which ``state`` is a view."""

    @abstractmethod
    def transpose(self, next_state: Tensor, kept: Sequence[Tensor], adjoint: Tensor, drive: Tensor) -> list[Bound]:
        """What computes the adjoint of the drive from that of ``next_state``, and makes ``adjoint`` that of the state.

        Args:
            next_state: As `step` left it.
            kept: As `step` left them.
            adjoint: dL/dx_{t+1} before, dL/dx_t after.
            drive: Takes the adjoint of the drive up to ``gradient_scale``.
        """


class LinearResidual(Recurrence):
    """Eq. (11): x' = R x + gamma tanh u = R x + 2 gamma v - gamma."""

    kept = 1

    def __init__(self, networks: Sequence[WCRNN], width: int) -> None:
        super().__init__(networks, width)
        self.offset, self.gain = torch.empty_like(self.coupling), torch.empty_like(self.coupling)

    def _load(self, weight: Tensor) -> None:
        self.offset.copy_(self.coupling).neg_()
        self.gain.copy_(self.coupling).mul_(2)
        self.gradient_scale = 4 * self.coupling.transpose(1, 2)
        self.drive_matrix.copy_(weight.transpose(1, 2)).mul_(2)
        torch.mul(weight[..., : weight.shape[1]], self.gradient_scale, out=self.adjoint_matrix)

    def step(self, extended: Tensor, state: Tensor, kept: Sequence[Tensor], next_state: Tensor) -> list[Bound]:
        """A matrix product and three elementwise operations."""
        (v,) = kept
        return [
            partial(torch.bmm, extended, self.drive_matrix, out=v),
            v.sigmoid_,
            partial(torch.addcmul, self.offset, self.gain, v, out=next_state),
            self.product.bind(state, next_state, accumulate=True),
        ]

    def transpose(self, next_state: Tensor, kept: Sequence[Tensor], adjoint: Tensor, drive: Tensor) -> list[Bound]:
        """A matrix product and two elementwise operations."""
        return [
            partial(_sigmoid_backward, adjoint, kept[0], grad_input=drive),
            self.product.bind_adjoint(adjoint, adjoint),
            partial(adjoint.baddbmm_, drive, self.adjoint_matrix),
        ]


class SaturatingResidual(LinearResidual):
    """Eq. (18), type A: x' = tanh R x + gamma tanh u = c + 2 gamma v - gamma with c = tanh R x."""

    kept = 2

    def step(self, extended: Tensor, state: Tensor, kept: Sequence[Tensor], next_state: Tensor) -> list[Bound]:
        """A matrix product and five elementwise operations."""
        v, c = kept
        return [
            partial(torch.bmm, extended, self.drive_matrix, out=v),
            v.sigmoid_,
            self.product.bind(state, c, accumulate=False),
            c.tanh_,
            partial(torch.addcmul, self.offset, self.gain, v, out=next_state),
            partial(next_state.add_, c),
        ]

    def transpose(self, next_state: Tensor, kept: Sequence[Tensor], adjoint: Tensor, drive: Tensor) -> list[Bound]:
        """A matrix product and three elementwise operations."""
        v, c = kept
        return [
            partial(_sigmoid_backward, adjoint, v, grad_input=drive),
            partial(_tanh_backward, adjoint, c, grad_input=adjoint),
            self.product.bind_adjoint(adjoint, adjoint),
            partial(adjoint.baddbmm_, drive, self.adjoint_matrix),
        ]


class Affine(Recurrence):
    """Without tanh, all forms are one: x' = R x + gamma u.

    Where R is dense, R + gamma W_xx is one matrix, and so there is one product instead of two. A sparse R stays by
    itself: each of its few entries, often 1, would be rounded to the same side at every step.
    """

    kept = 0

    def _load(self, weight: Tensor) -> None:
        self.gradient_scale = self.coupling.transpose(1, 2).clone()
        scaled = weight * self.gradient_scale
        if isinstance(self.product, DenseProduct):
            scaled[..., : weight.shape[1]] += self.product.matrices
        self.adjoint_matrix.copy_(scaled[..., : weight.shape[1]])
        self.drive_matrix.copy_(scaled.transpose(1, 2))

    def step(self, extended: Tensor, state: Tensor, kept: Sequence[Tensor], next_state: Tensor) -> list[Bound]:
        """A matrix product, and where R is not dense another operation."""
        affine = partial(torch.bmm, extended, self.drive_matrix, out=next_state)
        if isinstance(self.product, DenseProduct):
            return [affine]
        return [affine, self.product.bind(state, next_state, accumulate=True)]

    def transpose(self, next_state: Tensor, kept: Sequence[Tensor], adjoint: Tensor, drive: Tensor) -> list[Bound]:
        """A copy, a matrix product, and where R is not dense another operation."""
        return [partial(drive.copy_, adjoint), *self._transpose_affine(adjoint, drive)]

    def _transpose_affine(self, adjoint: Tensor, drive: Tensor) -> list[Bound]:
        if isinstance(self.product, DenseProduct):
            return [partial(torch.bmm, drive, self.adjoint_matrix, out=adjoint)]
        return [
            self.product.bind_adjoint(drive, adjoint),
            partial(adjoint.baddbmm_, drive, self.adjoint_matrix),
        ]


class Elman(Affine):
    """Eq. (19), type B: x' = tanh(R x + gamma u)."""

    def step(self, extended: Tensor, state: Tensor, kept: Sequence[Tensor], next_state: Tensor) -> list[Bound]:
        """As without tanh, and an elementwise operation."""
        return [*super().step(extended, state, kept, next_state), next_state.tanh_]

    def transpose(self, next_state: Tensor, kept: Sequence[Tensor], adjoint: Tensor, drive: Tensor) -> list[Bound]:
        """An elementwise operation, a matrix product, and where R is not dense another operation."""
        return [partial(_tanh_backward, adjoint, next_state, grad_input=drive), *self._transpose_affine(adjoint, drive)]


def recurrence(networks: Sequence[WCRNN], width: int) -> Recurrence:
    """The step of networks that share their form and nonlinearity."""
    first = networks[0]
    if first.nonlinearity == "identity":
        return Affine(networks, width)
    return {"linear": LinearResidual, "A": SaturatingResidual, "B": Elman}[first.form](networks, width)
