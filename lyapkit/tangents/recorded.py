"""Carry tangents within the graph, so that exponents can be differentiated."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents, push_forward
from lyapkit.tangents.reverse import jacobian_rows
from lyapkit.tangents.strategy import Carry, StepDerivative
from lyapkit.trajectories.drive import Drive, Stretch


class RecordedTangents:
    """J times a frame, differentiable: J v in forward mode or, failing that, rows of J in reverse mode.

    Gradients flow through J to everything that J depends on, and to the frame. Nothing is recorded in the transient, or
    while gradients are switched off.

    Args:
        map: The map.
        derivative: The mode that the map supports.
        transient: Number of leading steps that stay out of the graph.
        detach_state: True to keep the trajectory out of the graph.
        window: Number of counted steps after which the state is cut from the graph; None to leave it there.
    """

    stretch = 1
    step_bytes = 0
    decomposes = False

    def __init__(
        self, map: RecurrentMap, derivative: StepDerivative, transient: int, detach_state: bool, window: int | None
    ) -> None:
        self.name = derivative.name
        self._map, self._transient, self._window = map, transient, window
        self._detach_state = detach_state
        self._push = push_forward if isinstance(derivative, ForwardTangents) else _push_reverse

    def states(self, drive: Drive, start: int, steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step the map once, in the graph unless states stay out of it."""
        assert steps == 1, "a stretch is a step"
        counted, active = start - self._transient, drive.active(start)
        if self._window is not None and counted > 0 and counted % self._window == 0:
            state = state.detach()
        with torch.set_grad_enabled(torch.is_grad_enabled() and counted >= 0 and not self._detach_state):
            after = self._map.step(state, drive.input_at(start))
            after = after if active is None else torch.where(active.unsqueeze(-1), after, state)
        return state.unsqueeze(0), after

    def carry(self, stretch: Stretch) -> Carry:
        """Return a function that carries frames over the step, in the graph."""
        state, input = stretch.states[0], None if stretch.inputs is None else stretch.inputs[0]
        counts = stretch.start >= self._transient

        def carry(frame: Tensor, first: int, last: int) -> Tensor:
            assert last - first == 1, "a stretch is a step"
            with torch.set_grad_enabled(torch.is_grad_enabled() and counts):
                return self._push(self._map, state, input, frame).to(frame.dtype)

        return carry


def _push_reverse(map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
    return jacobian_rows(map, state, input, create_graph=torch.is_grad_enabled()) @ frame.to(state.dtype)
