"""Check the initial states and inputs of an analysis once, and bring them to one shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapkit.checks.arguments import check_floating, check_integer, refuse_contexts
from lyapkit.checks.kinks import KinkWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.closed_loop import ClosedLoop
from lyapkit.trajectories.kept_states import KeptStates
from lyapkit.trajectories.names import check_trajectory_names
from lyapkit.trajectories.networks import Networks, in_order
from lyapkit.trajectories.sequences import FLAT, as_tensor, check_lengths, fill_padding, lies_batch_first, time_first
from lyapkit.trajectories.visited import Visited


@dataclass(frozen=True)
class Drive:
    """Initial states and inputs of B trajectories.

    Attributes:
        state: Initial states, shape (B, N).
        inputs: Inputs, shape (T, B, M), or None for an autonomous map.
        steps: Number of steps, T.
        transient: Number of leading steps that are not counted.
        offset: Number of steps done before the first one here, for labels and messages.
        lengths: Number of steps of each trajectory, shape (B,). After them, its state and frame stay constant. None if
            all have T steps.
        visited: Some of the states that the run goes through.
        kinks: Search for kinks of the map along the run.
        names: Labels of the trajectories of each network, shape (B / G,); None for the numbers from 0.
        networks: Labels of G networks, whose trajectories follow each other; None for a single network.
        kept: Memory of all states of the run; None if they are not asked for.
    """

    state: Tensor
    inputs: Tensor | None
    steps: int
    transient: int
    offset: int = 0
    lengths: Tensor | None = None
    visited: Visited = field(default_factory=Visited, compare=False)
    kinks: KinkWatch | None = None
    names: NDArray[Any] | None = None
    networks: NDArray[Any] | None = None
    kept: KeptStates | None = None

    def part(self, start: int, length: int, state: Tensor) -> Drive:
        """Return ``length`` steps from ``start`` on, beginning at a state; only the first part has a transient."""
        inputs = None if self.inputs is None else self.inputs[start : start + length]
        transient = max(0, self.transient - start)
        return replace(self, state=state, inputs=inputs, steps=length, transient=transient, offset=self.offset + start)

    def active(self, step: int) -> Tensor | None:
        """Return true for trajectories that do a step, shape (B,), or None if all do; ``step`` counts from 0."""
        active = self.active_over(step, 1)
        return None if active is None else active[0]

    def active_over(self, start: int, steps: int) -> Tensor | None:
        """Return true for trajectories that do each of some steps, shape (L, B), or None if all do all of them."""
        if self.lengths is None or bool((self.lengths >= self.offset + start + steps).all()):
            return None
        done = torch.arange(start, start + steps, device=self.lengths.device) + self.offset
        return self.lengths > done.unsqueeze(-1)

    @property
    def coordinates(self) -> dict[str, NDArray[Any]]:
        """The coordinates of the trajectories, shape (B,) each: ``trajectory``, their names or the numbers from 0.

        Those of several networks also have ``network`` and ``sequence``. Their name is that of the network if it has a
        single one, else both, such as ``a, 0``.
        """
        if self.networks is None:
            return {"trajectory": np.arange(len(self.state)) if self.names is None else self.names}
        each = len(self.state) // len(self.networks)
        own = np.arange(each) if self.names is None else self.names
        network, sequence = np.repeat(self.networks, each), np.tile(own, len(self.networks))
        both = network
        if each > 1:
            both = check_trajectory_names([f"{a}, {b}" for a, b in zip(network, sequence, strict=True)], len(network))
        return {"trajectory": both, "network": network, "sequence": sequence}

    @property
    def last_steps(self) -> Tensor:
        """The last step of each trajectory, shape (B,), on the CPU."""
        if self.lengths is None:
            return torch.full(self.state.shape[:1], self.steps, device="cpu")
        return self.lengths.cpu()

    def look_at(self, map: RecurrentMap, stretch: Stretch) -> None:
        """Keep some or all of the states of a stretch, and look for kinks at some of them."""
        states, done = stretch.states.detach(), self.offset + stretch.start
        if self.kept is not None:
            self.kept.take(states, stretch.after.detach(), done)
        self.visited.take(states, stretch.inputs, stretch.after.detach(), done, stretch.active)
        if self.kinks is not None:
            self.kinks.see(map, done, states, stretch.inputs, self.lengths)

    def look_at_annihilating(self, map: RecurrentMap, stretch: Stretch, place: int, gone: Tensor) -> None:
        """Look for a kink at a step that annihilates all directions of some trajectories; ``gone`` has shape (B,)."""
        if self.kinks is not None and bool(gone.any()):
            input = None if stretch.inputs is None else stretch.inputs[place]
            step = self.offset + stretch.start + place
            self.kinks.see_annihilating(map, step, stretch.states[place], input, gone)

    def warn_of_kinks(self) -> None:
        """Warn if the run rests on a kink of its map."""
        if self.kinks is not None:
            self.kinks.warn()

    def input_at(self, step: int) -> Tensor | None:
        """Return the input s_t of every trajectory, shape (B, M); ``step`` counts from 0."""
        return None if self.inputs is None else self.inputs[step]

    @property
    def first_step(self) -> tuple[Tensor, Tensor | None]:
        """State (B, N) and input (B, M) of the first step, without their graphs."""
        input = self.input_at(0)
        return self.state.detach(), None if input is None else input.detach()


@dataclass(frozen=True)
class Stretch:
    """Some consecutive steps of a run.

    Attributes:
        start: Number of steps done before the first state.
        states: State x before each step, shape (L, B, N).
        inputs: Inputs, shape (L, B, M), or None.
        after: State after the last step, shape (B, N).
        active: True for trajectories that do a step, shape (L, B); None if all do all steps.
    """

    start: int
    states: Tensor
    inputs: Tensor | None
    after: Tensor
    active: Tensor | None = None

    @property
    def steps(self) -> int:
        """L."""
        return self.states.shape[0]


def prepare_drive(
    map: RecurrentMap,
    inputs: Any,
    steps: int | None,
    initial_state: Tensor | None,
    transient: int = 0,
    lengths: Any = None,
    batch_first: bool | None = None,
    trajectory_names: Any = None,
) -> Drive:
    """Check the arguments that analyses share.

    Args:
        map: The map.
        inputs: Inputs, (T, M) or (T, B, M): a tensor, an array or anything `torch.as_tensor` takes, or a
            PackedSequence. None for an autonomous map.
        steps: Number of steps of an autonomous map.
        initial_state: Initial state, (N,) or (B, N); None for the map's own.
        transient: Number of leading steps that are not counted.
        lengths: Number of steps of each of B sequences, (B,) integers. The inputs after them are padding.
        batch_first: True if three-dimensional inputs have the layout (B, T, M); None for the map's own layout.
        trajectory_names: A text or number for each trajectory; None for the numbers from 0.

    Raises:
        TypeError: If an argument is of the wrong kind (integer inputs, both or neither of inputs and steps, lengths
            without inputs).
        ValueError: If shape, dtype, device or number of steps are wrong, or values are not finite.
    """
    refuse_contexts(map.dtype, map.device)
    size = map.input_size
    if size == 0 and inputs is not None and isinstance(map, ClosedLoop):
        raise TypeError(
            "feedback= without teacher_forcing= runs the map on its own outputs, so that it takes no inputs; give "
            "teacher_forcing= above 0 to mix inputs in, or steps= instead of inputs."
        )
    if size == 0 and inputs is not None:
        raise TypeError("the map is autonomous (input_size 0); give steps= instead of inputs.")
    if size > 0 and inputs is None:
        raise TypeError(f"the map needs inputs of shape (T, {size}) or (T, B, {size}); none were given.")
    if inputs is not None and steps is not None:
        raise TypeError("steps= is for autonomous maps; the number of inputs says how many steps to run.")
    batch = 1
    if initial_state is not None:
        initial_state = _checked(map, "initial_state", initial_state, map.state_size, (1, 2))
        _refuse_infinite("initial_state", initial_state)
        batch = initial_state.shape[0] if initial_state.ndim == 2 else 1
    transient = check_integer("transient", transient)
    if transient < 0:
        raise ValueError(f"transient must be at least 0, got {transient}.")
    if inputs is None and lengths is not None:
        raise TypeError("lengths= is for sequences of inputs; an autonomous map runs steps= from every state.")
    swapped = lies_batch_first(map, batch_first)
    if inputs is not None:
        inputs, lengths = time_first(map, inputs, lengths, swapped)
        inputs = _checked(map, "inputs", inputs, size, (2, 3), swapped)
        if lengths is None:
            _refuse_infinite("inputs", inputs, swapped)
        steps = inputs.shape[0]
        if inputs.ndim == 2:
            inputs = inputs.unsqueeze(1).expand(-1, batch, -1)  # (T, B, M): one input, many initial states
        elif initial_state is None or initial_state.ndim == 1:
            batch = inputs.shape[1]
        elif inputs.shape[1] != batch:
            raise ValueError(
                f"inputs drive {inputs.shape[1]} trajectories (T, B, M), initial_state has {batch}; make them equal."
            )
        if lengths is not None:
            lengths = check_lengths(lengths, inputs, transient)
            inputs = fill_padding(inputs, lengths)
            _refuse_infinite("inputs", inputs, swapped)
    if steps is None:
        raise TypeError("the map is autonomous; say how many steps to run with steps=.")
    steps = check_integer("steps", steps)
    if steps < 1:
        what = "steps must be" if inputs is None else "inputs must have"
        raise ValueError(f"{what} at least 1{'' if inputs is None else ' step'}, got {steps}.")
    if steps - transient < 1:
        raise ValueError(f"no steps left to analyse: of {steps} steps, {transient} are transient.")
    if batch < 1:
        raise ValueError("there are no trajectories: the batch dimension has size 0.")
    state = first_states(map, initial_state, batch)
    names = None if trajectory_names is None else check_trajectory_names(trajectory_names, batch)
    networks = None
    if isinstance(map, Networks):
        networks = np.array(list(map.maps))
        inputs = map.numbered(inputs, steps, batch)
        lengths = None if lengths is None else lengths.repeat(len(networks))
    state = state.detach().clone(memory_format=torch.contiguous_format)  # forward mode refuses expanded tensors
    watch = KinkWatch(transient, steps)
    return Drive(state, inputs, steps, transient, 0, lengths, Visited(steps), watch, names, networks)


def first_states(map: RecurrentMap, initial_state: Tensor | None, batch: int) -> Tensor:
    """Return the states that trajectories start from, one network after the other, shape (G B, N).

    Args:
        map: The map, of G networks or a single one.
        initial_state: Initial state, (N,) or (B, N), the same for all networks; None for the map's own.
        batch: Number of trajectories of each network, B.
    """
    count = len(map.maps) if isinstance(map, Networks) else 1
    if initial_state is None:
        return map.initial_state(count * batch)
    return initial_state.expand(batch, -1).repeat(count, 1)


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


def held_at_the_end(values: Tensor, steps: Sequence[int], last: Tensor) -> Tensor:
    """Return values that stay constant for each trajectory after its last step.

    Args:
        values: Values, shape (B, L, ...).
        steps: Steps that the L values belong to, ascending. They contain each last step.
        last: Last step of each trajectory, shape (B,).
    """
    places = torch.searchsorted(torch.tensor(steps, device="cpu"), last).unsqueeze(-1)  # (B, 1)
    kept = torch.minimum(torch.arange(len(steps), device="cpu"), places).to(values.device)  # (B, L)
    return values[torch.arange(len(values), device=values.device).unsqueeze(-1), kept]


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


def _checked(
    map: RecurrentMap, name: str, value: Any, size: int, ranks: tuple[int, int], swapped: bool = False
) -> Tensor:
    tensor = as_tensor(name, value)
    letter = "M" if name == "inputs" else "N"
    shapes = (
        f"(T, {letter}) or ({'B, T' if swapped else 'T, B'}, {letter})"
        if name == "inputs"
        else f"({letter},) or (B, {letter})"
    ) + f" with {letter} = {size}"
    check_floating(name, tensor.dtype, map.dtype)
    if tensor.ndim not in ranks or tensor.shape[-1] != size:
        given = tensor.transpose(0, 1) if swapped and tensor.ndim == 3 else tensor
        layout = f"; {FLAT}" if name == "initial_state" else ""
        raise ValueError(f"{name} must have shape {shapes}, got {tuple(given.shape)}{layout}.")
    if tensor.dtype != map.dtype:
        raise ValueError(
            f"{name} has type {tensor.dtype} but the map computes in {map.dtype}; convert with .to({map.dtype}), or "
            "the module with .to()."
        )
    if tensor.device != map.device:
        raise ValueError(f"{name} is on {tensor.device} but the map on {map.device}; move one with .to().")
    return tensor.detach()


def _refuse_infinite(name: str, tensor: Tensor, swapped: bool = False) -> None:
    tensor = tensor[:1] if tensor.stride(0) == 0 else tensor  # the same at every step
    if not bool(torch.isfinite(tensor).all()):
        where = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        if swapped and tensor.ndim == 3:
            where[:2] = where[1::-1]
        raise ValueError(f"{name} holds a value that is not finite at index {tuple(where)}; clean them first.")
