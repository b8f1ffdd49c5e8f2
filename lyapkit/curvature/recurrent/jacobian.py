r"""The Jacobian of the outputs, row by row, for Gauss-Newton matrices of low rank.

With F outputs in all (B sequences times O each), :math:`G = J^\top H_L J` and J has F rows. Each row is the gradient of
a single output, so O adjoint sweeps compute all of J, once. A product with G then costs two products with J and no
sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapkit.cell_derivatives import AffineCell
from lyapkit.curvature.recurrent.head import Head
from lyapkit.curvature.recurrent.layout import ParameterLayout
from lyapkit.curvature.recurrent.segment import LinearisedLayer
from lyapkit.curvature.recurrent.sweeps import carry_back
from lyapkit.curvature.recurrent.trajectory import Trajectory
from lyapkit.trajectories.buffers import Buffers

MOST_OUTPUTS = 32
"""Largest number O of outputs of a sequence for which J is computed: it takes O sweeps, a product without J two."""
ROWS_AT_ONCE = 8192
"""Steps times sequences of a segment. J is updated once per segment, so segments are longer than for products."""


def jacobian_bytes(head: Head, cells: Sequence[AffineCell]) -> int:
    """Return the number of bytes of J."""
    entries: int = sum(cell.trained_rows * cell.weight.shape[1] for cell in cells)
    outputs: Tensor = head.outputs
    return outputs.numel() * entries * outputs.element_size()


def is_worthwhile(head: Head, cells: Sequence[AffineCell], batch: int, budget: int) -> bool:
    """Tell if J is small enough, and its rows can be computed for all sequences at once.

    For the latter, outputs (B, ...) must depend only on their own sequence. Some readouts mix sequences.
    """
    outputs = head.outputs
    if outputs.shape[:1] != (batch,) or outputs.numel() > MOST_OUTPUTS * batch or jacobian_bytes(head, cells) > budget:
        return False
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(outputs.numel(), 1, generator=generator, dtype=torch.float64, device="cpu").to(outputs.device)
    together, _ = head.pull(weights)  # (B, 1, N)
    single, _ = head.pull(_each_output(head, batch))  # (B, O, N)
    expected = (weights.view(batch, -1, 1).to(single) * single).sum(dim=1, keepdim=True)
    return torch.allclose(together, expected, rtol=1e-4, atol=1e-4 * float(together.abs().max()))


def _each_output(head: Head, batch: int) -> Tensor:
    """Return cotangents that pick output o of all sequences at once, for every o, shape (B*O, O)."""
    count = head.outputs.numel() // batch
    return torch.eye(count, dtype=torch.float64, device=head.outputs.device).repeat(batch, 1)


class OutputJacobian:
    """The Jacobian J of the outputs of one batch with respect to the layers' weights.

    The part for the readout's parameters is not stored; `Head` computes it.

    Args:
        head: The readout and the loss.
        trajectory: Trajectory of the batch.
        buffers: Memory for tangents and cotangents.
    """

    def __init__(self, head: Head, trajectory: Trajectory, buffers: Buffers) -> None:
        self._head = head
        self._curvature = head.curvature()
        cells = trajectory.cells
        trajectory = trajectory.in_segments(ROWS_AT_ONCE)
        batch, outputs = trajectory.batch, head.outputs.numel() // trajectory.batch
        rows = [cell.trained_rows for cell in cells]
        # (h_{t-1}, s_t, 1) is the outermost dim while steps are added up, which is fastest
        sums = [
            cell.weight.new_zeros(batch, cell.weight.shape[1], outputs * count)
            for cell, count in zip(cells, rows, strict=True)
        ]

        def add(position: int, index: int, layer: LinearisedLayer, dual: Tensor) -> None:
            part = dual[..., : rows[position]].flatten(2).transpose(0, 1)  # (B, S, O*rows)
            sums[position].baddbmm_(layer.augmented.permute(1, 2, 0), part)

        cotangents, _ = head.pull(_each_output(head, batch))
        carry_back(trajectory, cotangents, buffers, add)
        for total in sums:
            for sequence in total:  # in place, since there may be no memory for a second J
                sequence.view(-1).copy_(sequence.T.flatten())
        self._matrices = [total.view(batch * outputs, -1) for total in sums]
        """J for every layer, shape (F, rows*(H+M+1))."""

    def product(self, block: Tensor, layout: ParameterLayout, own: Tensor) -> Tensor:
        """Compute J^T H_L J V for a block V, (P, b); ``own`` holds the positions of the readout's parameters in V."""
        changes = layout.to_cells(block)
        pushed = self._head.push(block[own])
        for matrix, change in zip(self._matrices, changes, strict=True):
            pushed = pushed + (change.flatten(1) @ matrix.T).T.double()
        curved = self._curvature(pushed)
        gradients = [
            (curved.T.to(matrix) @ matrix).view(change.shape).double()
            for matrix, change in zip(self._matrices, changes, strict=True)
        ]
        total = layout.from_cells(gradients)
        total[own] += self._head.pull(curved)[1]
        return total
