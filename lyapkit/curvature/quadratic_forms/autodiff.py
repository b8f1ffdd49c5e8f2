"""Quadratic forms by time step for any map, by automatic differentiation of each step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import grad

from lyapkit.curvature.products.cotangents import grad_columns
from lyapkit.curvature.products.operators import Operator
from lyapkit.curvature.quadratic_forms.recursion import StepSums, at_the_end, probe_count
from lyapkit.curvature.recurrent.head import Head
from lyapkit.recurrent_map import RecurrentMap

AT_ONCE = 32


def step_sums_by_autodiff(
    map: RecurrentMap,
    inputs: Tensor,
    head: Head,
    parameters: Sequence[nn.Parameter],
    vector: Tensor,
    own: Tensor,
    bins: Tensor,
    operator: Operator,
) -> StepSums:
    """Compute the quadratic form of one vector along one batch; see `lyapkit.curvature.quadratic_forms.recursion`.

    It keeps the tangents of all steps: T*B*N numbers for every bin.

    Args:
        map: The map.
        inputs: Shape (T, B, M).
        head: The loss after the last step.
        parameters: Parameters in the order of the vector. Those that a step does not depend on count as constants.
        vector: Vector v, shape (P,), float64.
        own: Positions of the readout's parameters in the vector.
        bins: The bin of every step, shape (T,), from 0.
        operator: The curvature operator.
    """
    sweep = _Sweep(map, inputs, parameters, vector, bins)
    end = at_the_end(head, operator, sweep.forward().transpose(0, 1), vector[own])
    second_order = operator != "ggn"
    gradient = head.gradient().to(inputs) if second_order else None
    sweep.backward(gradient, end.cotangent.transpose(0, 1))
    return StepSums(
        torch.cat((sweep.rows, end.row)),
        torch.cat((sweep.layers, end.layer)),
        torch.cat((sweep.layers_by_state, end.layer_by_state)),
    )


class _Sweep:
    """Sweeps of tangents (b, B, N) forwards and of cotangents backwards, with a graph of one step at a time."""

    def __init__(
        self, map: RecurrentMap, inputs: Tensor, parameters: Sequence[nn.Parameter], vector: Tensor, bins: Tensor
    ) -> None:
        self._map, self._inputs, self._parameters = map, inputs, list(parameters)
        self._bins, self._probes = bins, probe_count(bins)
        parts = torch.split(vector, [parameter.numel() for parameter in parameters])
        self._direction = [part.reshape(p.shape).to(p) for part, p in zip(parts, parameters, strict=True)]
        self.rows = vector.new_zeros(len(bins), self._probes)
        self.layers, self.layers_by_state = vector.new_zeros(len(bins)), vector.new_zeros(len(bins))

    def forward(self) -> Tensor:
        """Carry the tangents forwards, and return the changes of x_T, (b, B, N)."""
        state = self._map.initial_state(self._inputs.shape[1]).detach()
        tangent = state.new_zeros(self._probes, *state.shape)
        self._states, self._tangents = [state], [tangent]
        for step in range(len(self._inputs)):
            with torch.enable_grad():
                seen, after = self._step(step)
                cotangent = torch.zeros_like(after, requires_grad=True)
                variables = [seen, *self._parameters]
                pulled = grad(after, variables, cotangent, create_graph=True, materialize_grads=True)
                (tangent,) = grad_columns(pulled, [cotangent], self._changes(step), at_once=AT_ONCE)
            self._states.append(after.detach())
            self._tangents.append(tangent)
        return tangent

    def backward(self, gradient: Tensor | None, cotangent: Tensor) -> None:
        """Fill in the sums, from the probes' cotangents (b, B, N) and dL/dx_T, which is None for first order only."""
        for step in reversed(range(len(self._inputs))):
            with torch.enable_grad():
                seen, after = self._step(step)
                variables = [seen, *self._parameters]
                of_state, *rest = grad_columns([after], variables, [cotangent], at_once=AT_ONCE)
                if gradient is not None:
                    slopes = grad(after, variables, gradient, create_graph=True, materialize_grads=True)
                    bent, *bent_rest = grad_columns(slopes, variables, self._changes(step), at_once=AT_ONCE)
                    whole = self._tangents[step].sum(dim=0)
                    (by_state,) = grad_columns(slopes[:1], [seen], [whole.unsqueeze(0)], at_once=1)
                    self.layers[step] = (whole * bent).sum().double() + self._along(bent_rest).sum()
                    self.layers_by_state[step] = (whole * by_state[0]).sum().double()
                    of_state, rest = of_state + bent, [a + b for a, b in zip(rest, bent_rest, strict=True)]
                    gradient = slopes[0].detach()
            self.rows[step] = self._along(rest)
            cotangent = of_state

    def _step(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the state before a step, as a leaf of the graph, and the state after it."""
        seen = self._states[step].requires_grad_()
        return seen, self._map.step(seen, self._inputs[step])

    def _changes(self, step: int) -> list[Tensor]:
        """Return the changes of state and parameters; parameters change only for the probe of the step's bin."""
        active = torch.nn.functional.one_hot(self._bins[step], self._probes).to(self._inputs)
        moved = [active.view(-1, *[1] * part.ndim) * part for part in self._direction]
        return [self._tangents[step], *moved]

    def _along(self, stacks: Sequence[Tensor]) -> Tensor:
        """Return inner products of the direction with stacks (b, *shape), shape (b,), float64."""
        total = self.rows.new_zeros(self._probes)
        for stack, part in zip(stacks, self._direction, strict=True):
            total += (stack * part).flatten(1).sum(dim=1).double()
        return total
