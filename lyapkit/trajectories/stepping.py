"""Step a map along a drive, stretch by stretch, and refuse states that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.drive import Drive, Stretch
from lyapkit.trajectories.networks import in_order


class Stepper(Protocol):
    """A way to step through a stretch of a run and keep its states."""

    def begin(self, state: Tensor, steps: int) -> Tensor:
        """Begin a stretch of so many steps; return its first state, shape (B, N), for the first call of `step`."""
        ...

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the state after a step."""
        ...

    def keep(self, state: Tensor) -> Tensor:
        """Keep the state that has been reached, and return the kept copy."""
        ...

    def kept(self) -> tuple[Tensor, Tensor]:
        """Return the states before each step, shape (L, B, N), and the state after the last one, shape (B, N)."""
        ...


class MapStepper:
    """Steps of the map itself.

    Args:
        map: The map.
    """

    def __init__(self, map: RecurrentMap) -> None:
        self.step = map.step
        self._states: list[Tensor] = []

    def begin(self, state: Tensor, steps: int) -> Tensor:
        """Begin a stretch."""
        self._states = []
        return self.keep(state)

    def keep(self, state: Tensor) -> Tensor:
        """Keep a state as it is."""
        self._states.append(state)
        return state

    def kept(self) -> tuple[Tensor, Tensor]:
        """Return the states before each step and the last one."""
        return torch.stack(self._states[:-1]), self._states[-1]


StatesOf = Callable[[Drive, int, int, Tensor], tuple[Tensor, Tensor]]
"""A function of a drive, the first step of a stretch, its number of steps and its first state, that returns the same as
`Stepper.kept`."""


@torch.no_grad()
def stepped(stepper: Stepper, drive: Drive, start: int, steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
    """Step through a stretch one step at a time, without derivatives; sequences that have ended stay where they are.

    Args:
        stepper: Way to do the steps.
        drive: Inputs and lengths.
        start: Number of steps done before the stretch.
        steps: Number of steps of the stretch, L.
        state: State at its start, shape (B, N).

    Returns:
        The states before each step, shape (L, B, N), and the state after the last one, shape (B, N).
    """
    active = drive.active_over(start, steps)
    state = stepper.begin(state, steps)
    for index in range(steps):
        after = stepper.step(state, drive.input_at(start + index))
        if active is not None:
            after = torch.where(active[index].unsqueeze(-1), after, state)
        state = stepper.keep(after)
    return stepper.kept()


def run(map: RecurrentMap, drive: Drive, length: int, states_of: StatesOf | None = None) -> Iterator[Stretch]:
    """Walk along the drive, ``length`` steps at a time.

    Args:
        map: The map.
        drive: Initial states and inputs.
        length: Number of steps in a stretch.
        states_of: Function that goes through the states of a stretch. By default, it does the map's own steps, without
            derivatives.

    Raises:
        FloatingPointError: If a state is not finite; the message names step and trajectory.
    """
    if states_of is None:
        states_of = partial(stepped, MapStepper(in_order(map, *drive.first_step)))
    state = drive.state
    for start in range(0, drive.steps, length):
        steps = min(length, drive.steps - start)
        states, state = states_of(drive, start, steps, state)
        refuse_overflow(states, state, drive.offset + start)
        inputs = None if drive.inputs is None else drive.inputs[start : start + steps]
        stretch = Stretch(start, states, inputs, state, drive.active_over(start, steps))
        drive.look_at(map, stretch)
        yield stretch


@torch.no_grad()
def refuse_overflow(states: Tensor, after: Tensor, start: int) -> None:
    """Refuse states that are not finite.

    Args:
        states: States before each of L steps, shape (L, B, N).
        after: State after the last step, shape (B, N).
        start: Number of steps done before the first of them, for the message.

    Raises:
        FloatingPointError: If a state is not finite; the message names step and trajectory.
    """
    if math.isfinite(float(states.sum() + after.sum())):  # the sum is finite only if all numbers are
        return
    finite = torch.isfinite(torch.cat((states[1:], after.unsqueeze(0)))).all(dim=-1)  # (L, B)
    if not bool(finite.all()):
        step, trajectory = (~finite).nonzero()[0].tolist()
        raise FloatingPointError(
            f"the state of trajectory {trajectory} is not finite after step {start + step + 1}: the map grows without "
            "bound there or divides by zero. Start from another state, shorten the run, or check the weights."
        )
