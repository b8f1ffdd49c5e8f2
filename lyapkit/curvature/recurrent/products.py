"""Block products with curvature operators by recursion through time, for maps that know their own derivatives.

The general method is double backward through the unrolled network. It stores a graph of all operations and walks it for
every block. Here, the trajectory and its derivatives are computed once per batch. A product is then two sweeps with a
block of probes: tangents forwards, cotangents backwards (`lyapkit.curvature.recurrent.segment`). The terms of the
weights are one matrix product for all steps of a segment. For the Gauss-Newton matrix the second sweep has no sources
(Schraudolph 2002); for the Hessian it is Pearlmutter's R-operator (1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lyapkit.cell_derivatives import AffineCell
from lyapkit.curvature.products.operators import BlockProduct, Operator, WeightedLoss
from lyapkit.curvature.recurrent.check import check_against_autodiff, short_objective, unrolled_form
from lyapkit.curvature.recurrent.head import Head
from lyapkit.curvature.recurrent.jacobian import OutputJacobian, is_worthwhile, jacobian_bytes
from lyapkit.curvature.recurrent.layout import ParameterLayout
from lyapkit.curvature.recurrent.segment import LinearisedLayer
from lyapkit.curvature.recurrent.sweeps import Sweeps, source_bytes
from lyapkit.curvature.recurrent.trajectory import Trajectory
from lyapkit.losses.unrolled import UnrolledNetwork, check_sequence
from lyapkit.trajectories.buffers import Buffers

MEMORY_BUDGET = 3 * 2**29
"""Bytes that may hold what would else be recomputed: one and a half GiB, enough for 1,000 sequences of 784 steps
through 100 units."""
NUMBERS_AT_ONCE = 2**16
"""Largest number of elements of one layer's tangents at one step; more would leave a processor's cache. It decides how
many columns are carried together, between 4 and 32. Chosen by measurement, see benchmarks/curvature_products.py."""


def recurrent_products(
    objective: WeightedLoss, *, memory_budget: int = MEMORY_BUDGET, check: bool = True
) -> RecurrentProducts | None:
    """Return the fast route to the products of a loss, where there is one.

    Args:
        objective: The loss. Its network must be an `UnrolledNetwork`, or a module that is equivalent to one, with an
            adapter and a readout of its own. The map must have `RecurrentMap.cell_derivatives`.
        memory_budget: Bytes that may hold what would else be recomputed for every product.
        check: True to compare the map's derivatives with automatic differentiation on the first steps.

    Returns:
        The products, or None if the network has another form.

    Raises:
        ValueError: If the map's derivatives are not those of its step.
    """
    inputs, _ = objective.batches[0]
    network = unrolled_form(objective.network, inputs)
    cells = None if network is None else network.map.cell_derivatives()
    if network is None or cells is None:
        return None
    if check:
        short = short_objective(network, inputs, objective.parameters)
        check_against_autodiff(short, RecurrentProducts(short, cells, memory_budget).product("hessian"))
    return RecurrentProducts(replace(objective, network=network), cells, memory_budget)


class RecurrentProducts:
    """Block products of the Hessian, the Gauss-Newton matrix and their difference, as `WeightedLoss` has them.

    The parameters do not change while a product is in use.

    Args:
        objective: The loss of an `UnrolledNetwork`.
        cells: Its map's layers.
        memory_budget: Bytes that may hold what would else be recomputed.
    """

    def __init__(self, objective: WeightedLoss, cells: Sequence[AffineCell], memory_budget: int) -> None:
        self._objective = objective
        self._cells = cells
        self._budget = memory_budget
        self._layout = ParameterLayout(objective.parameters, cells)

    @torch.no_grad()
    def product(self, operator: Operator) -> BlockProduct:
        """Return the map V -> A V of an operator A, (P, b) -> (P, b)."""
        network, buffers = self._objective.network, Buffers(self._cells[0].weight)
        assert isinstance(network, UnrolledNetwork)
        terms = []
        for (inputs, targets), weight in zip(self._objective.batches, self._objective.weights, strict=True):
            check_sequence(network.map, inputs)
            trajectory = Trajectory(self._cells, network.map.initial_state(inputs.shape[1]), inputs)
            head = Head(network, trajectory.final, targets, weight, self._objective.loss, self._objective.parameters)
            terms.append(_Term(trajectory, head, operator, self._layout, buffers))
        budget = self._budget
        for_sources = min(budget // 2, max(term.source_bytes for term in terms))
        budget -= for_sources
        for term in terms:
            budget -= term.prepare(budget, for_sources)

        @torch.no_grad()
        def product(block: Tensor) -> Tensor:
            total = torch.zeros_like(block)
            for term in terms:
                chunks = -(-block.shape[1] // term.columns_at_once)
                for part, into in zip(block.chunk(chunks, 1), total.chunk(chunks, 1), strict=True):
                    into += term.product(part)
            return total

        return product


class _Term:
    """One batch of a product."""

    def __init__(
        self, trajectory: Trajectory, head: Head, operator: Operator, layout: ParameterLayout, buffers: Buffers
    ) -> None:
        self._trajectory = trajectory
        self._head = head
        self._layout = layout
        self._buffers = buffers
        self._own = layout.rows_of(head.parameters)
        self._operator = operator
        self._jacobian: OutputJacobian | None = None
        largest = trajectory.batch * max(cell.units for cell in trajectory.cells)
        self.columns_at_once = min(max(NUMBERS_AT_ONCE // largest, 4), 32)
        self.source_bytes = 0 if operator == "ggn" else source_bytes(trajectory, self.columns_at_once)

    def prepare(self, budget: int, for_sources: int) -> int:
        """Compute what all products share, keep as much of it as the budget allows, and return the bytes used."""
        self._for_sources = for_sources
        trajectory, head = self._trajectory, self._head
        if self._operator != "ggn":
            self._head_product = head.product(self._operator)
            return trajectory.carry_back(head.gradient().to(trajectory.final), budget)
        if is_worthwhile(head, trajectory.cells, trajectory.batch, budget):
            self._jacobian = OutputJacobian(head, trajectory, self._buffers)
            self.columns_at_once = 64
            return jacobian_bytes(head, trajectory.cells)
        self._head_product = head.product(self._operator)
        return trajectory.keep(budget)

    def product(self, block: Tensor) -> Tensor:
        """Multiply a block (P, b)."""
        if self._jacobian is not None:
            return self._jacobian.product(block, self._layout, self._own)
        sweeps = _GradientSweeps(
            self._trajectory,
            self._layout.to_cells(block),
            self._buffers,
            second_order=self._operator != "ggn",
            budget=self._for_sources,
        )
        cotangent, rest = self._head_product(sweeps.forward(), block[self._own])
        sweeps.backward(cotangent)
        total = self._layout.from_cells(sweeps.gradients())
        total[self._own] += rest
        return total


class _GradientSweeps(Sweeps):
    """Sweeps that sum alpha_t (h_{t-1}, s_t, 1)^T over t or, with second order, its derivative along the probes."""

    def __init__(
        self,
        trajectory: Trajectory,
        changes: Sequence[Tensor],
        buffers: Buffers,
        *,
        second_order: bool,
        budget: int,
    ) -> None:
        probes = changes[0].shape[0]
        super().__init__(trajectory, probes, buffers, second_order=second_order, budget=budget)
        self._driving = [change.permute(2, 0, 1).contiguous() for change in changes]  # (H+M+1, b, rows)
        widths = [cell.units + (cell.inputs if position else 0) for position, cell in enumerate(trajectory.cells)]
        self._pulling = [
            change[..., :width].transpose(0, 1).contiguous() for change, width in zip(changes, widths, strict=True)
        ]  # (rows, b, H or H+M)
        # sums over steps in float64: they have many small terms, which may cancel in entries that matter
        self._moved_duals = [torch.zeros_like(part, dtype=torch.float64) for part in self._driving]
        self._moved_inputs = [torch.zeros_like(part, dtype=torch.float64) for part in self._pulling]

    def drive(self, position: int, index: int, layer: LinearisedLayer, out: Tensor) -> None:
        """Compute one matrix product for all steps and probes, if all rows are trained."""
        rows, augmented, driving = layer.cell.trained_rows, layer.augmented.flatten(0, 1), self._driving[position]
        if rows == out.shape[-1]:
            torch.mm(augmented, driving.flatten(1), out=out.view(len(augmented), -1))
            return
        out[..., rows:] = 0
        for probe, part in enumerate(driving.unbind(1)):
            torch.mm(augmented, part, out=out.view(len(augmented), self.probes, -1)[:, probe, :rows])

    def pull(self, position: int, index: int, layer: LinearisedLayer, out: Tensor) -> None:
        """Compute one matrix product for all steps and probes."""
        duals = self._duals(layer)
        torch.mm(duals, self._pulling[position].flatten(1), out=out.view(len(duals), -1))

    def after_forward(
        self,
        position: int,
        index: int,
        layer: LinearisedLayer,
        moved: Tensor,
        states: Sequence[Tensor],
        below: Tensor | None,
    ) -> None:
        """Add the part alpha_t (dh_{t-1}, ds_t, 0)^T."""
        duals, total, units = self._duals(layer), self._moved_inputs[position], layer.cell.units
        for part, into in ((states[0][:-1], total[..., :units]), (below, total[..., units:])):
            if part is not None:
                into += (duals.T @ part.reshape(len(duals), -1)).view(into.shape)

    def after_backward(self, position: int, index: int, layer: LinearisedLayer, dual: Tensor) -> None:
        """Add the part (d)alpha_t (h_{t-1}, s_t, 1)^T."""
        rows, augmented, total = layer.cell.trained_rows, layer.augmented.flatten(0, 1).T, self._moved_duals[position]
        if rows == dual.shape[-1]:
            total += (augmented @ dual.view(augmented.shape[1], -1)).view(total.shape)
            return
        for probe in range(self.probes):
            total[:, probe] += augmented @ dual.view(augmented.shape[1], self.probes, -1)[:, probe, :rows]

    def gradients(self) -> list[Tensor]:
        """Return the sums for every layer, shape (b, rows, H+M+1), float64."""
        found = []
        for moved_duals, moved_inputs in zip(self._moved_duals, self._moved_inputs, strict=True):
            total = moved_duals.permute(1, 2, 0).contiguous()
            total[..., : moved_inputs.shape[-1]] += moved_inputs.transpose(0, 1)
            found.append(total)
        return found

    @staticmethod
    def _duals(layer: LinearisedLayer) -> Tensor:
        """Return alpha_t in the trained rows, shape (S*B, rows)."""
        assert layer.dual is not None, "called with second order only"
        return layer.dual[..., : layer.cell.trained_rows].flatten(0, 2)
