"""The trajectory of a batch with its first derivatives, kept or recomputed segment by segment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapkit.cell_derivatives import AffineCell, Derivatives
from lyapkit.curvature.recurrent.segment import LinearisedLayer, adjoint, run

ROWS_AT_ONCE = 2048
"""Steps times sequences of a segment: enough for matrix products at full speed, few enough for a processor's cache.

Chosen by measurement, see benchmarks/curvature_products.py.
"""
LEAST_STEPS = 8


class Trajectory:
    """States of all layers along a batch of sequences, with the derivatives that curvature products read.

    The state at the start of every segment of time is kept. The rest is kept if there is memory for it, and recomputed
    otherwise whenever a segment is asked for. It does not change while the parameters stay the same.

    Args:
        cells: The layers, from the input upwards.
        initial: Flat initial states, shape (B, N).
        inputs: Shape (T, B, M).
        rows_at_once: Steps times sequences of a segment; `ROWS_AT_ONCE` by default.
    """

    def __init__(
        self, cells: Sequence[AffineCell], initial: Tensor, inputs: Tensor, *, rows_at_once: int | None = None
    ) -> None:
        self.cells = cells
        self.inputs = inputs
        self._initial = initial
        steps, batch = inputs.shape[:2]
        length = min(steps, max(LEAST_STEPS, -(-(rows_at_once or ROWS_AT_ONCE) // batch)))
        self.segments = [slice(start, min(start + length, steps)) for start in range(0, steps, length)]
        self._starts: list[list[Tensor]] = []
        self._ends: list[list[Tensor]] = []
        self._kept: dict[int, list[LinearisedLayer]] = {}
        self._store: Tensor | None = None
        self._stored = 0
        state = self.unflatten(initial)
        for segment in self.segments:
            self._starts.append(state)
            below, after = inputs[segment], []
            for cell, start in zip(cells, state, strict=True):
                states, _, _ = run(cell, start, below)
                below = states[1:, :, 0]
                after.append(states[-1].clone())
            state = after
        self.final = self.flatten(state)

    @property
    def batch(self) -> int:
        """Number B of sequences."""
        return self.inputs.shape[1]

    def in_segments(self, rows_at_once: int) -> Trajectory:
        """Return the same trajectory with segments of another length, and with no segment kept."""
        return Trajectory(self.cells, self._initial, self.inputs, rows_at_once=rows_at_once)

    def unflatten(self, state: Tensor) -> list[Tensor]:
        """Split flat states (B, N) into one tensor (B, C, H) per layer."""
        sizes = [cell.pointwise.components * cell.units for cell in self.cells]
        parts = torch.split(state, sizes, dim=-1)
        return [part.reshape(*part.shape[:-1], -1, cell.units) for part, cell in zip(parts, self.cells, strict=True)]

    def flatten(self, states: Sequence[Tensor]) -> Tensor:
        """Join one tensor (B, C, H) per layer into flat states (B, N)."""
        return torch.cat([state.flatten(-2) for state in states], dim=-1)

    def carry_back(self, gradient: Tensor, budget: int) -> int:
        """Carry the gradient of the loss back through time; segments then come with second order.

        Args:
            gradient: Gradient dL/dx_T, flat, shape (B, N).
            budget: Bytes that may be used to keep segments.

        Returns:
            The bytes used.
        """
        ends = [part.unsqueeze(-2) for part in self.unflatten(gradient)]  # (B, C, 1, H), a single probe
        for index in reversed(range(len(self.segments))):
            self._ends.insert(0, ends)
            layers, ends = self._linearise(index, ends)
            self._keep(index, layers, budget)
        return self._bytes_kept()

    def keep(self, budget: int) -> int:
        """Keep segments without second order.

        Args:
            budget: Bytes that may be used.

        Returns:
            The bytes used.
        """
        for index in range(len(self.segments)):
            if not self._keep(index, self.segment(index), budget):
                break
        return self._bytes_kept()

    def segment(self, index: int) -> list[LinearisedLayer]:
        """Return all layers over one segment."""
        if index in self._kept:
            return self._kept[index]
        return self._linearise(index, self._ends[index] if self._ends else None)[0]

    def _keep(self, index: int, layers: list[LinearisedLayer], budget: int) -> bool:
        """Copy a segment to the store if there is room.

        The store is one piece of memory. Small pieces, allocated between the temporary tensors of a segment, would
        leave gaps that take as much memory again.
        """
        needed = sum(layer.numbers() for layer in layers)
        if self._store is None:
            segment = self.segments[index]
            everything = needed * len(self.inputs) // (segment.stop - segment.start)
            self._store = self.inputs.new_empty(min(everything, budget // self.inputs.element_size()))
        if self._stored + needed > self._store.numel():
            return False
        self._kept[index] = [layer.copied(self._copy) for layer in layers]
        return True

    def _copy(self, tensor: Tensor) -> Tensor:
        assert self._store is not None
        into = self._store[self._stored : self._stored + tensor.numel()].view(tensor.shape)
        self._stored += tensor.numel()
        return into.copy_(tensor)

    def _bytes_kept(self) -> int:
        return self._stored * self.inputs.element_size()

    def _linearise(self, index: int, ends: Sequence[Tensor] | None) -> tuple[list[LinearisedLayer], list[Tensor]]:
        """Return the layers of a segment and, if the cotangents after it, (B, C, 1, H), are given, those before it."""
        below = self.inputs[self.segments[index]]
        runs = []
        for cell, start in zip(self.cells, self._starts[index], strict=True):
            runs.append(run(cell, start, below))
            below = runs[-1][0][1:, :, 0]
        layers: list[LinearisedLayer] = []
        starts: list[Tensor] = []
        external = None
        for position in reversed(range(len(runs))):
            cell, (states, preactivations, augmented) = self.cells[position], runs[position]
            first, second = cell.pointwise.linearise(preactivations, states[:-1])
            first = _planes(first)
            if ends is None:
                layers.insert(0, LinearisedLayer(cell, augmented, first, {}, None))
                continue
            steps, batch = augmented.shape[:2]
            dual = augmented.new_empty(steps, batch, 1, cell.weight.shape[0])
            adjoints = torch.empty_like(states[1:])
            cotangent = [part.clone() for part in ends[position].unbind(1)]  # (B, 1, H) each
            before = adjoint(cell, first, cotangent, dual, external=external, record=adjoints)
            if position:
                external = dual @ cell.weight[:, cell.units : -1]  # (S, B, 1, M)
            layers.insert(0, LinearisedLayer(cell, augmented, first, _planes(second(adjoints)), dual))
            starts.insert(0, torch.stack(before, dim=1))
        return layers, starts


def _planes(derivatives: Derivatives) -> Derivatives:
    """View derivatives (S, B, H) as (S, B, 1, H), to be broadcast over probes; constants are returned unchanged."""
    return {pair: plane.unsqueeze(-2) if plane.ndim == 3 else plane for pair, plane in derivatives.items()}
