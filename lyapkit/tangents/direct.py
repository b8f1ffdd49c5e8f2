"""Carry tangents by the map's own steps and their derivatives: the reference for all other ways."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.strategy import Carry, StepDerivative, stretch_of
from lyapkit.trajectories.drive import Drive, Stretch
from lyapkit.trajectories.stepping import MapStepper, stepped


class DirectTangents:
    """Compute Jacobians of many steps at once for wide frames (4 k >= N); push narrow frames without Jacobians.

    Both are exact to rounding.

    Args:
        map: The map.
        derivative: Derivative of a step, which multiplies by its Jacobian.
        batch: Number of trajectories, B.
        k: Number of directions of the frames.
        dtype: Type of the frames.
    """

    decomposes = False

    def __init__(self, map: RecurrentMap, derivative: StepDerivative, batch: int, k: int, dtype: torch.dtype) -> None:
        self.name = derivative.name
        self._map, self._derivative, self._dtype = map, derivative, dtype
        self._wide = 4 * k >= map.state_size
        state = batch * map.state_size * dtype.itemsize
        self.step_bytes = state * map.state_size if self._wide else state
        self.stretch = stretch_of(self.step_bytes)

    def states(self, drive: Drive, start: int, steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step the map."""
        return stepped(MapStepper(self._map), drive, start, steps, state)

    def carry(self, stretch: Stretch) -> Carry:
        """Return a function that multiplies by the Jacobians of the stretch, or pushes frames through its steps."""
        if self._wide:
            jacobians = self._derivative.jacobian(self._map, stretch.states, stretch.inputs).to(self._dtype)
            return partial(_multiplied, jacobians)
        return partial(self._pushed, stretch)

    def _pushed(self, stretch: Stretch, frame: Tensor, first: int, last: int) -> Tensor:
        for step in range(first, last):
            input = None if stretch.inputs is None else stretch.inputs[step]
            frame = self._derivative.push(self._map, stretch.states[step], input, frame).to(self._dtype)
        return frame


def _multiplied(jacobians: Tensor, frame: Tensor, first: int, last: int) -> Tensor:
    for jacobian in jacobians[first:last]:
        frame = jacobian @ frame
    return frame
