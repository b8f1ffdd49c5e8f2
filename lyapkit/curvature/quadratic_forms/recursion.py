r"""Quadratic forms of curvature resolved by time step: the uses of one vector at different steps are kept apart.

The parameters act at every step. Give each step its own copy theta_t of them, and keep the readout's parameters apart.
The Hessian then becomes a matrix of blocks H_st, and for one vector v of the shared parameters

.. math:: v^\top H v = \sum_{s, t} v^\top H_{st} v,

where the readout counts as one more step. When the two sweeps of a product meet at step s, they give row s of the block
matrix times v on the steps of one bin. The quadratic forms only add inner products to these sweeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.curvature.products.operators import Operator
from lyapkit.curvature.recurrent.head import Head
from lyapkit.curvature.recurrent.layout import ParameterLayout
from lyapkit.curvature.recurrent.segment import LinearisedLayer, by_gate
from lyapkit.curvature.recurrent.sweeps import Sweeps
from lyapkit.curvature.recurrent.trajectory import Trajectory
from lyapkit.trajectories.buffers import Buffers


@dataclass(frozen=True)
class StepSums:
    """The quadratic form of one vector.

    Attributes:
        rows: Forms v'H_sb v summed over the steps of bin b, by step s and bin b, shape (T+1, bins+1), float64. The last
            row and column belong to the readout's parameters.
        layers: Contributions of the unrolled layers, shape (T+1,), which sum to the residual part. The last is the
            readout's. Zero for "ggn".
        layers_by_state: The part of ``layers`` that is quadratic in the changes of earlier states, as in eq. (9).
    """

    rows: Tensor
    layers: Tensor
    layers_by_state: Tensor

    def __add__(self, other: StepSums) -> StepSums:
        """Return the sum with another batch of the same number of steps."""
        return StepSums(
            self.rows + other.rows, self.layers + other.layers, self.layers_by_state + other.layers_by_state
        )


def step_sums(
    trajectory: Trajectory,
    head: Head,
    layout: ParameterLayout,
    vector: Tensor,
    bins: Tensor,
    operator: Operator,
    buffers: Buffers,
    *,
    budget: int,
    coupled: bool = True,
) -> StepSums:
    """Compute the quadratic form of one vector along one batch.

    Args:
        trajectory: Trajectory of the batch. Unless the operator is "ggn", the gradient was carried back along it.
        head: The loss after its last step.
        layout: Layout of the parameters.
        vector: Vector v, shape (P,), float64.
        bins: The bin of every step, shape (T,), from 0.
        operator: The curvature operator.
        buffers: Memory for tangents and cotangents.
        budget: Bytes for intermediate results; what does not fit is recomputed within the call.
        coupled: False for the weak-coupling form, eq. (14) of Dubinin & Effenberger (2024), in which states depend on
            earlier ones through the residual alone. For "ggn" only.
    """
    assert coupled or operator == "ggn", "the weak-coupling form is that of the Gauss-Newton matrix"
    sweeps = _StepSweeps(
        trajectory,
        layout.to_cells(vector.unsqueeze(1)),
        bins,
        buffers,
        second_order=operator != "ggn",
        budget=budget,
        coupled=coupled,
    )
    end = at_the_end(head, operator, sweeps.forward(), vector[layout.rows_of(head.parameters)])
    sweeps.backward(end.cotangent)
    return StepSums(
        torch.cat((sweeps.rows, end.row)),
        torch.cat((sweeps.layers, end.layer)),
        torch.cat((sweeps.layers_by_state, end.layer_by_state)),
    )


@dataclass(frozen=True)
class End:
    """Tangents after the readout and the loss.

    Attributes:
        cotangent: Cotangents of x_T, shape (B, b, N).
        row: The readout's row of `StepSums.rows`, shape (1, b).
        layer: The readout's part of the residual, shape (1,).
        layer_by_state: The readout's part of `StepSums.layers_by_state`.
    """

    cotangent: Tensor
    row: Tensor
    layer: Tensor
    layer_by_state: Tensor


def at_the_end(head: Head, operator: Operator, state: Tensor, own: Tensor) -> End:
    """Apply the curvature of readout and loss.

    Args:
        head: Readout and loss.
        operator: The curvature operator.
        state: Change dx_T of the probes, shape (B, b, N). The last probe is that of the readout's parameters.
        own: The part of the vector for the readout's parameters, shape (P,), float64.
    """
    readout = own.new_zeros(len(own), state.shape[1])
    readout[:, -1] = own
    cotangent, rest = head.product(operator)(state, readout)
    row = own.unsqueeze(0) @ rest
    layer, layer_by_state = own.new_zeros(1), own.new_zeros(1)
    if operator != "ggn":
        residual, whole = head.product("residual"), state.sum(dim=1, keepdim=True)
        for parameters, into in ((own, layer), (torch.zeros_like(own), layer_by_state)):
            of_state, of_own = residual(whole, parameters.unsqueeze(1))
            into += (whole * of_state).sum().double() + parameters @ of_own[:, 0]
    return End(cotangent, row, layer, layer_by_state)


def probe_count(bins: Tensor) -> int:
    """Return the number of probes: one for every bin and one for the readout."""
    return int(bins.max()) + 2


class _StepSweeps(Sweeps):
    """Sweeps with one probe for every bin, which changes the parameters on its own steps, and one for the readout."""

    def __init__(
        self,
        trajectory: Trajectory,
        changes: Sequence[Tensor],
        bins: Tensor,
        buffers: Buffers,
        *,
        second_order: bool,
        budget: int,
        coupled: bool,
    ) -> None:
        probes = probe_count(bins)
        super().__init__(trajectory, probes, buffers, second_order=second_order, budget=budget, coupled=coupled)
        self._changes = [change.squeeze(0) for change in changes]  # (rows, H+M+1)
        active = torch.nn.functional.one_hot(bins, probes).to(changes[0])  # (T, b); no step drives the readout's probe
        self._active = [active[segment].view(-1, 1, probes, 1) for segment in trajectory.segments]
        steps = len(bins)
        self.rows = bins.new_zeros(steps, probes, dtype=torch.float64)
        self.layers = bins.new_zeros(steps, dtype=torch.float64)
        self.layers_by_state = torch.zeros_like(self.layers)
        # filled by the layer below, since a segment is visited from the input upwards
        self._emitted_by_state = torch.empty(0, device="cpu")

    def drive(self, position: int, index: int, layer: LinearisedLayer, out: Tensor) -> None:
        """Drive the probes on the steps of their bins."""
        rows = layer.cell.trained_rows
        out[..., rows:] = 0
        torch.mul(self._direct(position, layer), self._active[index], out=out[..., :rows])

    def pull(self, position: int, index: int, layer: LinearisedLayer, out: Tensor) -> None:
        """Pull the probes back on the steps of their bins."""
        torch.mul(self._pulled(position, layer, out.shape[-1]), self._active[index], out=out)

    def after_forward(
        self,
        position: int,
        index: int,
        layer: LinearisedLayer,
        moved: Tensor,
        states: Sequence[Tensor],
        below: Tensor | None,
    ) -> None:
        """Add the change of (h_{t-1}, s_t) under the given alpha_t, and all terms that are quadratic at the layer."""
        steps, units = self.trajectory.segments[index], layer.cell.units
        inputs = [states[0][:-1]] if below is None else [states[0][:-1], below]
        pulled = self._pulled(position, layer, sum(part.shape[-1] for part in inputs))
        mixed = torch.zeros_like(self.rows[steps])
        weights = torch.split(pulled, [part.shape[-1] for part in inputs], dim=-1)
        for part, weight in zip(inputs, weights, strict=True):
            mixed += torch.einsum("sbpn,sbn->sp", part, weight.squeeze(2)).double()
        self.rows[steps] += mixed
        # all probes together change the parameters at every step
        whole = [*by_gate(moved, units).unbind(-2), *(state[:-1] for state in states)]
        whole = [part.sum(dim=2) for part in whole]  # (S, B, H) each
        self.layers[steps] += _quadratic(layer, whole) + 2 * mixed.sum(dim=1)
        # changes by earlier states alone: the parameters stay, in this layer and in those below
        direct = torch.zeros_like(moved[:, :, 0])  # (S, B, G*H)
        direct[..., : layer.cell.trained_rows] = self._direct(position, layer).squeeze(2)
        if below is not None:
            direct += (below.sum(dim=2) - self._emitted_by_state) @ layer.cell.weight[:, units:-1].T
        of_parameters = by_gate(direct, units).unbind(-2)
        by_state = [part - of_parameters[i] if i < len(of_parameters) else part for i, part in enumerate(whole)]
        self.layers_by_state[steps] += _quadratic(layer, by_state)
        slopes = [(i, plane) for (component, i), plane in layer.first.items() if component == 0]
        self._emitted_by_state = torch.stack([_per_sequence(plane) * by_state[i] for i, plane in slopes]).sum(dim=0)

    def after_backward(self, position: int, index: int, layer: LinearisedLayer, dual: Tensor) -> None:
        """Add the change of alpha_t under the given inputs."""
        direct = self._direct(position, layer).squeeze(2)
        part = torch.einsum("sbpn,sbn->sp", dual[..., : layer.cell.trained_rows], direct)
        self.rows[self.trajectory.segments[index]] += part.double()

    def _direct(self, position: int, layer: LinearisedLayer) -> Tensor:
        """Return the direct effect dW h_{t-1} + dU s_t + db on a_t, shape (S, B, 1, rows)."""
        return (layer.augmented @ self._changes[position].T).unsqueeze(2)

    def _pulled(self, position: int, layer: LinearisedLayer, width: int) -> Tensor:
        """Return (dW, dU)^T alpha_t, shape (S, B, 1, width)."""
        assert layer.dual is not None, "called with second order only"
        return layer.dual[..., : layer.cell.trained_rows] @ self._changes[position][:, :width]


def _quadratic(layer: LinearisedLayer, arguments: Sequence[Tensor]) -> Tensor:
    """Return the second derivative of phi along the arguments, weighted with dL/dx_t, as a sum for each step, (S,)."""
    total = arguments[0].new_zeros(arguments[0].shape[0], dtype=torch.float64)
    for (i, j), plane in layer.second.items():
        product = _per_sequence(plane) * arguments[i] * arguments[j]
        total += (1 if i == j else 2) * product.sum(dim=(1, 2)).double()
    return total


def _per_sequence(plane: Tensor) -> Tensor:
    """Return a derivative (S, B, 1, H) as (S, B, H), and constants unchanged."""
    return plane.squeeze(2) if plane.ndim == 4 else plane
