r"""Recursions of tangents and adjoints through a stretch of time, for one layer and a block of probes together.

With :math:`a_t = W h_{t-1} + U s_t + b` and :math:`x_t = \varphi(a_t, x_{t-1})` (`lyapkit.cell_derivatives`), a change
v of the parameters moves

.. math::

    da_t = W\, dh_{t-1} + U\, ds_t + (dW\, h_{t-1} + dU\, s_t + db), \qquad dx_t = \varphi_a\, da_t + \varphi_x\,
    dx_{t-1},

and a cotangent :math:`l_t` of x_t is carried back by

.. math:: \alpha_t = \varphi_a^\top l_t, \qquad l_{t-1} = W^\top \alpha_t + \varphi_x^\top l_t.

The gradient with respect to [W, U, b] is the sum over t of :math:`\alpha_t (h_{t-1}, s_t, 1)^\top`. Pearlmutter's
R-operator, the derivative of the adjoint in the direction v, is the same recursion with sources. They consist of second
derivatives of :math:`\varphi` and of :math:`dW^\top \alpha_t`. The sizes are S steps, B sequences, b probes and H
units. Probes lie beside the sequences, (B, b, H), so W multiplies all of them in one matrix product per step. This
module differentiates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.cell_derivatives import AffineCell, Derivatives


@dataclass(frozen=True)
class LinearisedLayer:
    """One layer over the S steps of a segment, with the derivatives that curvature products need.

    Attributes:
        cell: The layer.
        augmented: Vectors (h_{t-1}, s_t, 1), shape (S, B, H+M+1).
        first: First derivatives of phi, each (S, B, 1, H), or broadcastable to (B, 1, H) if constant.
        second: Second derivatives of phi, weighted with the adjoint dL/dx_t, with the same shapes. Empty without second
            order.
        dual: The derivative dL/da_t, shape (S, B, 1, G*H). None without second order.
    """

    cell: AffineCell
    augmented: Tensor
    first: Derivatives
    second: Derivatives
    dual: Tensor | None

    def numbers(self) -> int:
        """Count the stored numbers, without constants."""
        counts: list[int] = []

        def count(tensor: Tensor) -> Tensor:
            counts.append(tensor.numel())
            return tensor

        self.copied(count)
        return sum(counts)

    def copied(self, copy: Callable[[Tensor], Tensor]) -> LinearisedLayer:
        """Return the same layer with a copy of every tensor that has steps."""

        def planes(derivatives: Derivatives) -> Derivatives:
            return {pair: copy(plane) if plane.ndim == 4 else plane for pair, plane in derivatives.items()}

        dual = None if self.dual is None else copy(self.dual)
        return LinearisedLayer(self.cell, copy(self.augmented), planes(self.first), planes(self.second), dual)


def run(cell: AffineCell, start: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the layer, and return its trajectory.

    Args:
        cell: The layer.
        start: State before the segment, shape (B, C, H).
        inputs: The inputs s_t, shape (S, B, M).

    Returns:
        States (S+1, B, C, H), the initial one included; preactivations (S, B, G, H); (h_{t-1}, s_t, 1), (S, B, H+M+1).
    """
    steps, batch = inputs.shape[:2]
    units, rows = cell.units, cell.recurrent_rows
    augmented = start.new_ones(steps, batch, cell.weight.shape[1])
    augmented[..., units:-1] = inputs
    preactivations = augmented[..., units:] @ cell.weight[:, units:].T  # (S, B, G*H)
    states = start.new_empty(steps + 1, *start.shape)
    states[0] = start
    recurrent = cell.weight[rows, :units].T
    for before, after, preactivation in zip(states[:-1], states[1:], preactivations, strict=True):
        preactivation[:, rows].addmm_(before[:, 0], recurrent)
        after.copy_(cell.pointwise.advance(by_gate(preactivation, units), before))
    augmented[..., :units] = states[:-1, :, 0]
    return states, by_gate(preactivations, units), augmented


def tangent(
    cell: AffineCell,
    first: Derivatives,
    drive: Tensor,
    states: Sequence[Tensor],
    *,
    coupled: bool = True,
) -> None:
    """Carry tangents forwards.

    Args:
        cell: The layer.
        first: Derivatives of phi.
        drive: The sum dW h_{t-1} + dU s_t + db + U ds_t, shape (S, B, b, G*H). It is overwritten with da_t.
        states: Tangents for every component, shape (S+1, B, b, H). Entry 0 is given; entry t is overwritten with dx_t.
        coupled: False to leave out W in the trained rows, as in eqs. (12) and (14) of Dubinin & Effenberger (2024).
    """
    steps, batch, probes, size = drive.shape
    units, rows = cell.units, _rows(cell, coupled)
    recurrent = cell.weight[rows, :units].T.contiguous()
    fed = drive.view(steps, batch * probes, size)[..., rows].unbind()
    hidden = states[0].view(steps + 1, batch * probes, units).unbind()
    arguments = [part.unbind() for part in (*by_gate(drive, units).unbind(-2), *states)]
    results = [component[1:].unbind() for component in states]
    terms: list[list[tuple[Sequence[Tensor], Sequence[Tensor]]]] = [[] for _ in states]
    for (component, argument), plane in first.items():
        terms[component].append((_by_step(plane, steps), arguments[argument]))
    for step in range(steps):
        if recurrent.shape[1]:
            fed[step].addmm_(hidden[step], recurrent)
        for result, parts in zip(results, terms, strict=True):
            combine(result[step], None, [(planes[step], values[step]) for planes, values in parts])


def adjoint(
    cell: AffineCell,
    first: Derivatives,
    cotangent: Sequence[Tensor],
    dual: Tensor,
    *,
    sources: Mapping[int, Tensor] | None = None,
    pulled: Tensor | None = None,
    external: Tensor | None = None,
    record: Tensor | None = None,
    coupled: bool = True,
) -> list[Tensor]:
    """Carry cotangents backwards.

    Args:
        cell: The layer.
        first: Derivatives of phi.
        cotangent: Cotangent of the state after the segment, for every component (B, b, H). It is overwritten.
        dual: Buffer for the cotangents alpha_t of a_t, shape (S, B, b, G*H).
        sources: Terms to add to the cotangents of phi's arguments, by argument, shape (S, B, b, H) each.
        pulled: Term to add to the cotangent of h_{t-1}, shape (S, B, b, >= H). It is overwritten.
        external: Term to add to the cotangent of h_t, shape (S, B, b, H).
        record: Buffer for the cotangents of x_t, shape (S, B, C, H), for a single probe.
        coupled: As in `tangent`.

    Returns:
        The cotangent of the state before the segment, for every component (B, b, H).
    """
    steps, batch, probes, size = dual.shape
    units, rows = cell.units, _rows(cell, coupled)
    gates = size // units
    weight = cell.weight[rows, :units].contiguous()
    sent = dual.view(steps, batch * probes, size)[..., rows].unbind()
    results = [part.unbind() for part in by_gate(dual, units).unbind(-2)]
    given = {argument: source.unbind() for argument, source in (sources or {}).items()}
    if pulled is not None:
        pulled = pulled[..., :units]
        if gates in given:  # the given sources include that of x_0 = h
            pulled += (sources or {})[gates]
        given[gates] = pulled.unbind()
    slopes: list[list[tuple[int, Sequence[Tensor]]]] = [[] for _ in range(gates + len(cotangent))]
    for (component, argument), plane in first.items():
        slopes[argument].append((component, _by_step(plane, steps)))
    present, before = list(cotangent), [torch.empty_like(part) for part in cotangent]
    for step in reversed(range(steps)):
        if external is not None:
            present[0].add_(external[step])
        if record is not None:
            for component, part in enumerate(present):
                record[step, :, component] = part[:, 0]
        for argument, parts in enumerate(slopes):
            into = results[argument][step] if argument < gates else before[argument - gates]
            source = given[argument][step] if argument in given else None
            combine(into, source, [(planes[step], present[component]) for component, planes in parts])
        if len(weight):
            before[0].view(batch * probes, units).addmm_(sent[step], weight)
        present, before = before, present
    return present


def by_gate(preactivations: Tensor, units: int) -> Tensor:
    """View preactivations (..., G*H) as (..., G, H)."""
    return preactivations.view(*preactivations.shape[:-1], -1, units)


def _rows(cell: AffineCell, coupled: bool) -> slice:
    """Return the rows of W that count."""
    rows = cell.recurrent_rows
    return rows if coupled else slice(max(rows.start, cell.trained_rows), rows.stop)


def _by_step(plane: Tensor, steps: int) -> Sequence[Tensor]:
    """Return a derivative (S, B, 1, H) as one entry for each step; a constant is repeated."""
    return plane.unbind() if plane.ndim == 4 else [plane] * steps


def combine(result: Tensor, base: Tensor | None, terms: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Compute result = base + sum of coefficient * value, with one pass over memory for each term."""
    if not terms:
        result.zero_() if base is None else result.copy_(base)
        return
    (coefficient, value), *rest = terms
    if base is None:
        torch.mul(value, coefficient, out=result)
    else:
        torch.addcmul(base, value, coefficient, out=result)
    for coefficient, value in rest:
        result.addcmul_(value, coefficient)
