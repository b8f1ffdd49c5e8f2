"""Do one step of an `Equation` and its transpose, as operations on given buffers.

All of them work on K networks at once. The drive is u = W e with the extended state e = (x, 1, s, 0): the state, a one
for the biases, the input, and a zero where the length would be odd.

tanh u, which the weak coupling multiplies, is computed as 2 v - 1 with v = sigmoid(2 u), which PyTorch evaluates
several times as fast on the CPU. Its absolute error in float32 is 2e-7, as large as that of u itself. A state that goes
through tanh at every step, as in types A and B, would add up such errors. There, tanh itself is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from wcrnn_models.models.wcrnn import WCRNN
from wcrnn_models.training.adjoint.products import Bound, DenseProduct, stacked_product

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # gradient, v -> gradient v (1 - v)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # gradient, y -> gradient (1 - y^2)


class Recurrence:
    """A step of K networks of equal sizes and equation, x' = sigma_t(sigma_c(R x) + gamma sigma_d(u)).

    With tanh on the drive, gamma tanh u = 2 gamma v - gamma. Without it, the product is with gamma W. If also no tanh
    acts on R x and R is dense, R + gamma W_xx is one matrix, which saves a product. A sparse R stays separate: each of
    its few entries, often 1, would be rounded to the same side at every step.

    Args:
        networks: The K networks.
        width: Length E of an extended state.

    Attributes:
        kept: Number of tensors of shape (K, B, N) that a step leaves for its transpose, besides the states: v and tanh
            R x, if the equation has them.
        drive_matrix: Matrix that extended states are multiplied with, shape (K, E, N).
        adjoint_matrix: Matrix that the adjoint of the drive is multiplied with, shape (K, N, N).
        gradient_scale: Factor of the gradient dL/dW, shape (K, N, 1). The other factor is the sum over steps of the
            adjoint of the drive times e^T.
    """

    gradient_scale: Tensor

    def __init__(self, networks: Sequence[WCRNN], width: int) -> None:
        self.networks, self.equation = tuple(networks), networks[0].equation
        first = networks[0].recurrent.weight
        count, units = len(networks), len(first)
        self.drive_matrix = first.new_empty(count, width, units)
        self.adjoint_matrix = first.new_empty(count, units, units)
        self.coupling = first.new_empty(count, 1, units)
        self.offset, self.gain = torch.empty_like(self.coupling), torch.empty_like(self.coupling)
        self.product = stacked_product([network.residual for network in networks])
        self.kept = self.equation.drive + self.equation.carried
        self._is_one_matrix = isinstance(self.product, DenseProduct) and not self.kept

    def load(self, weight: Tensor) -> None:
        """Copy the present weights, shape (K, N, E), couplings and residuals."""
        for row, network in zip(self.coupling, self.networks, strict=True):
            row.copy_(network.coupling.expand(1, network.hidden_size))
        self.product.refresh()
        units = weight.shape[1]
        if self.equation.drive:
            self.offset.copy_(self.coupling).neg_()
            self.gain.copy_(self.coupling).mul_(2)
            self.gradient_scale = 4 * self.coupling.transpose(1, 2)
            self.drive_matrix.copy_(weight.transpose(1, 2)).mul_(2)
            torch.mul(weight[..., :units], self.gradient_scale, out=self.adjoint_matrix)
            return
        self.gradient_scale = self.coupling.transpose(1, 2).clone()
        scaled = weight * self.gradient_scale
        if self._is_one_matrix:
            assert isinstance(self.product, DenseProduct)
            scaled[..., :units] += self.product.matrices
        self.adjoint_matrix.copy_(scaled[..., :units])
        self.drive_matrix.copy_(scaled.transpose(1, 2))

    def step(self, extended: Tensor, state: Tensor, kept: Sequence[Tensor], next_state: Tensor) -> list[Bound]:
        """Return functions that compute ``next_state`` and ``kept`` from the extended state, which ``state`` views."""
        if self.equation.drive:
            v = kept[0]
            run: list[Bound] = [
                partial(torch.bmm, extended, self.drive_matrix, out=v),
                v.sigmoid_,
                partial(torch.addcmul, self.offset, self.gain, v, out=next_state),
            ]
        else:
            run = [partial(torch.bmm, extended, self.drive_matrix, out=next_state)]
        if self.equation.carried:
            c = kept[-1]
            run += [self.product.bind(state, c, accumulate=False), c.tanh_, partial(next_state.add_, c)]
        elif not self._is_one_matrix:
            run.append(self.product.bind(state, next_state, accumulate=True))
        return [*run, next_state.tanh_] if self.equation.total else run

    def transpose(self, next_state: Tensor, kept: Sequence[Tensor], adjoint: Tensor, drive: Tensor) -> list[Bound]:
        """Return functions that compute the adjoint of the drive, and turn ``adjoint`` into that of the state.

        Args:
            next_state: Next state, as `step` left it.
            kept: Kept tensors, as `step` left them.
            adjoint: Gradient dL/dx_{t+1}, which is replaced by dL/dx_t.
            drive: Buffer for the adjoint of the drive, up to ``gradient_scale``.
        """
        total = adjoint if self.equation.drive else drive  # receives the adjoint of the sum
        run: list[Bound] = []
        if self.equation.total:
            run.append(partial(_tanh_backward, adjoint, next_state, grad_input=total))
        elif not self.equation.drive:
            run.append(partial(drive.copy_, adjoint))
        if self.equation.drive:
            run.append(partial(_sigmoid_backward, adjoint, kept[0], grad_input=drive))
        if self.equation.carried:
            run.append(partial(_tanh_backward, total, kept[-1], grad_input=adjoint))
            total = adjoint
        if self._is_one_matrix:
            return [*run, partial(torch.bmm, drive, self.adjoint_matrix, out=adjoint)]
        return [*run, self.product.bind_adjoint(total, adjoint), partial(adjoint.baddbmm_, drive, self.adjoint_matrix)]
