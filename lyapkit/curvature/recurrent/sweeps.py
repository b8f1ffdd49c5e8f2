"""Two sweeps over a trajectory with a block of probes: tangents forwards, cotangents backwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lyapkit.curvature.recurrent.segment import LinearisedLayer, adjoint, by_gate, combine, tangent
from lyapkit.curvature.recurrent.trajectory import Trajectory
from lyapkit.trajectories.buffers import Buffers

Sourced = tuple[dict[int, Tensor], Tensor | None]
"""Terms to add to the cotangents of phi's arguments, (S, B, b, H) each, and to those of (h_{t-1}, s_t)."""


class Sweeps(ABC):
    """The two sweeps. Subclasses say how probes drive the tangents, and use tangents and cotangents.

    Args:
        trajectory: The trajectory. For second order, the gradient was carried back along it.
        probes: Number b of probes.
        buffers: Memory for tangents and cotangents.
        second_order: True if cotangents have sources, as for the Hessian; False for the Gauss-Newton matrix.
        budget: Bytes for the sources of the last segments. Those of the others are recomputed on the way back.
        coupled: As in `lyapkit.curvature.recurrent.segment.tangent`.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        probes: int,
        buffers: Buffers,
        *,
        second_order: bool,
        budget: int = 0,
        coupled: bool = True,
    ) -> None:
        self.trajectory = trajectory
        self.probes = probes
        self.buffers = buffers
        self._second_order = second_order
        self._coupled = coupled
        self._starts: dict[int, list[list[Tensor]]] = {}
        self._sources: dict[int, list[dict[int, Tensor]]] = {}
        each = source_bytes(trajectory, probes) // len(trajectory.inputs)  # per step
        room = len(trajectory.inputs) if not each else budget // each
        fits = [len(trajectory.inputs) - segment.start <= room for segment in trajectory.segments]
        self._first_stored = fits.index(True) if any(fits) else len(fits)

    @abstractmethod
    def drive(self, position: int, index: int, layer: LinearisedLayer, out: Tensor) -> None:
        """Fill (S, B, b, G*H) with the direct effect dW h_{t-1} + dU s_t + db of the probes on a_t."""

    @abstractmethod
    def pull(self, position: int, index: int, layer: LinearisedLayer, out: Tensor) -> None:
        """Fill (S, B, b, H or H+M) with (dW, dU)^T alpha_t, their effect on the cotangents of (h_{t-1}, s_t)."""

    @abstractmethod
    def after_forward(
        self,
        position: int,
        index: int,
        layer: LinearisedLayer,
        moved: Tensor,
        states: Sequence[Tensor],
        below: Tensor | None,
    ) -> None:
        """Use the tangents of a segment. It is called with second order only.

        Args:
            position: Number of the layer.
            index: Number of the segment.
            layer: The layer along it.
            moved: Changes da_t, shape (S, B, b, G*H).
            states: Changes dx_t for every component, before the segment and along it, shape (S+1, B, b, H).
            below: Changes ds_t, shape (S, B, b, M), or None for the first layer.
        """

    @abstractmethod
    def after_backward(self, position: int, index: int, layer: LinearisedLayer, dual: Tensor) -> None:
        """Use the cotangents of a_t of a segment, shape (S, B, b, G*H)."""

    def forward(self) -> Tensor:
        """Carry the tangents to the end.

        Returns:
            The final tangents dx_T, flat, shape (B, b, N).
        """
        trajectory = self.trajectory
        present = [
            [cell.weight.new_zeros(trajectory.batch, self.probes, cell.units) for _ in range(cell.pointwise.components)]
            for cell in trajectory.cells
        ]
        for index in range(len(trajectory.segments)):
            layers = trajectory.segment(index)
            stored = index >= self._first_stored
            if self._second_order and not stored:
                self._starts[index] = present
            tangents = self._tangents(index, layers, present)
            if self._second_order:
                below = None
                for position, (layer, (moved, states)) in enumerate(zip(layers, tangents, strict=True)):
                    self.after_forward(position, index, layer, moved, states, below)
                    below = states[0][1:]
                if stored:
                    self._sources[index] = self._curve(layers, tangents, trajectory.segments[index])
            present = [[component[-1].clone() for component in states] for _, states in tangents]
        return torch.cat([component for states in present for component in states], dim=-1)

    def backward(self, cotangent: Tensor) -> None:
        """Carry cotangents of x_T back to the start.

        Args:
            cotangent: Cotangents of x_T, flat, shape (B, b, N).
        """
        carry_back(
            self.trajectory,
            cotangent,
            self.buffers,
            self.after_backward,
            sourced=self._sourced if self._second_order else None,
            coupled=self._coupled,
        )

    def _sourced(self, index: int, layers: Sequence[LinearisedLayer]) -> list[Sourced]:
        """Return the terms that the probes add to the cotangents of a segment, for every layer."""
        sources = self._sources.pop(index, None)
        if sources is None:
            sources = self._curve(layers, self._tangents(index, layers, self._starts.pop(index)), None)
        found: list[Sourced] = []
        for position, layer in enumerate(layers):
            width = layer.cell.units + (layer.cell.inputs if position else 0)
            pulled = self.buffers.take(("pulled", position), *layer.augmented.shape[:2], self.probes, width)
            self.pull(position, index, layer, pulled)
            found.append((sources[position], pulled))
        return found

    def _tangents(
        self, index: int, layers: Sequence[LinearisedLayer], starts: Sequence[Sequence[Tensor]]
    ) -> list[tuple[Tensor, list[Tensor]]]:
        """Compute da_t and dx_t of every layer along a segment, in buffers that the next segment overwrites."""
        found: list[tuple[Tensor, list[Tensor]]] = []
        for position, (layer, start) in enumerate(zip(layers, starts, strict=True)):
            cell, (steps, batch) = layer.cell, layer.augmented.shape[:2]
            moved = self.buffers.take(("moved", position), steps, batch, self.probes, cell.weight.shape[0])
            self.drive(position, index, layer, moved)
            if position:
                below = found[-1][1][0][1:]
                moved.view(-1, moved.shape[-1]).addmm_(
                    below.reshape(-1, below.shape[-1]), cell.weight[:, cell.units : -1].T
                )
            states = []
            for component, value in enumerate(start):
                name = ("state", position, component)
                states.append(self.buffers.take(name, steps + 1, batch, self.probes, cell.units))
                states[-1][0] = value
            tangent(cell, layer.first, moved, states, coupled=self._coupled)
            found.append((moved, states))
        return found

    def _curve(
        self,
        layers: Sequence[LinearisedLayer],
        tangents: Sequence[tuple[Tensor, list[Tensor]]],
        segment: slice | None,
    ) -> list[dict[int, Tensor]]:
        """Return the sources of every layer: second derivatives of phi, weighted with dL/dx_t, times the tangents.

        They are written to the place of a stored segment or, for None, to a place that the next call overwrites.
        """
        sources: list[dict[int, Tensor]] = []
        for position, (layer, (moved, states)) in enumerate(zip(layers, tangents, strict=True)):
            arguments = [*by_gate(moved, layer.cell.units).unbind(-2), *(state[:-1] for state in states)]
            terms: dict[int, list[tuple[Tensor, Tensor]]] = {}
            for (i, j), plane in layer.second.items():
                terms.setdefault(i, []).append((plane, arguments[j]))
                if i != j:
                    terms.setdefault(j, []).append((plane, arguments[i]))
            found = {}
            for argument, parts in terms.items():
                found[argument] = self._source(position, argument, arguments[0].shape, segment)
                combine(found[argument], None, parts)
            sources.append(found)
        return sources

    def _source(self, position: int, argument: int, shape: torch.Size, segment: slice | None) -> Tensor:
        if segment is None:
            return self.buffers.take(("source", position, argument), *shape)
        first = self.trajectory.segments[self._first_stored].start
        steps = len(self.trajectory.inputs) - first
        stored = self.buffers.take(("sources", position, argument), steps, *shape[1:])
        return stored[segment.start - first : segment.stop - first]


def carry_back(
    trajectory: Trajectory,
    cotangent: Tensor,
    buffers: Buffers,
    use: Callable[[int, int, LinearisedLayer, Tensor], None],
    *,
    sourced: Callable[[int, Sequence[LinearisedLayer]], Sequence[Sourced]] | None = None,
    coupled: bool = True,
) -> None:
    """Carry cotangents of x_T back through all layers and segments.

    Args:
        trajectory: The trajectory.
        cotangent: Cotangents of x_T, flat, shape (B, b, N).
        buffers: Memory for tangents and cotangents.
        use: Function that is called as ``use(number of the layer, number of the segment, layer, cotangents of a_t (S,
            B, b, G*H))``.
        sourced: Function from a segment to the sources of every layer's cotangents; None if there are no sources.
        coupled: As in `lyapkit.curvature.recurrent.segment.tangent`.
    """
    cells, probes = trajectory.cells, cotangent.shape[1]
    parts = iter(torch.split(cotangent, [cell.units for cell in cells for _ in range(cell.pointwise.components)], -1))
    present = [[next(parts).contiguous().clone() for _ in range(cell.pointwise.components)] for cell in cells]
    for index in reversed(range(len(trajectory.segments))):
        layers = trajectory.segment(index)
        given: Sequence[Sourced] = [({}, None)] * len(layers) if sourced is None else sourced(index, layers)
        external = None
        for position in reversed(range(len(layers))):
            layer, (sources, pulled) = layers[position], given[position]
            cell = layer.cell
            dual = buffers.take(("moved", position), *layer.augmented.shape[:2], probes, cell.weight.shape[0])
            present[position] = adjoint(
                cell,
                layer.first,
                present[position],
                dual,
                sources=sources,
                pulled=pulled,
                external=external,
                coupled=coupled,
            )
            use(position, index, layer, dual)
            if position:
                external = dual @ cell.weight[:, cell.units : -1]  # (S, B, b, M)
                if pulled is not None:
                    external += pulled[..., cell.units :]


def source_bytes(trajectory: Trajectory, probes: int) -> int:
    """Return the number of bytes for the sources of all segments."""
    steps, batch = trajectory.inputs.shape[:2]
    total = 0
    for cell in trajectory.cells:
        nothing = cell.weight.new_zeros(cell.pointwise.preactivations + cell.pointwise.components, cell.units)
        at, state = nothing[: cell.pointwise.preactivations], nothing[cell.pointwise.preactivations :]
        arguments = {index for pair in cell.pointwise.linearise(at, state)[1](state) for index in pair}
        total += len(arguments) * steps * batch * probes * cell.units * cell.weight.element_size()
    return total
