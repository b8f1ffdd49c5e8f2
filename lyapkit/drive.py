"""What an analysis is run on: initial states and inputs, checked once and brought to one shape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lyapkit.adapters.closed_loop import ClosedLoop
from lyapkit.arguments import check_floating, check_integer, refuse_contexts
from lyapkit.kinks import KinkWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.sequences import FLAT, as_tensor, check_lengths, fill_padding, lies_batch_first, time_first
from lyapkit.visited import Visited


@dataclass(frozen=True)
class Drive:
    """Initial states and inputs of B trajectories.

    Attributes:
        state: initial states, shape (B, N).
        inputs: shape (T, B, M), or None for an autonomous map.
        steps: T.
        transient: leading steps that are not counted.
        offset: steps done before the first one here, for labels and messages.
        lengths: steps of each trajectory, shape (B,), after which its state and frame stay what they are; None when all
            have T.
        visited: Some of the states that the run goes through.
        kinks: Looks for kinks of the map along the run.
    """

    state: Tensor
    inputs: Tensor | None
    steps: int
    transient: int
    offset: int = 0
    lengths: Tensor | None = None
    visited: Visited = field(default_factory=Visited, compare=False)
    kinks: KinkWatch | None = None

    def part(self, start: int, length: int, state: Tensor) -> Drive:
        """``length`` steps from ``start`` on, continued from a state; the transient is in the first part only."""
        inputs = None if self.inputs is None else self.inputs[start : start + length]
        return Drive(
            state,
            inputs,
            length,
            max(0, self.transient - start),
            self.offset + start,
            self.lengths,
            self.visited,
            self.kinks,
        )

    def active(self, step: int) -> Tensor | None:
        """Which trajectories do a step, shape (B,); ``step`` counts from 0. None when all do."""
        if self.lengths is None or bool((self.lengths > self.offset + step).all()):
            return None
        return self.lengths > self.offset + step

    @property
    def last_steps(self) -> Tensor:
        """The last step of each trajectory, shape (B,), on the CPU."""
        if self.lengths is None:
            return torch.full(self.state.shape[:1], self.steps, device="cpu")
        return self.lengths.cpu()

    def keep_some(self, stretch: Stretch) -> None:
        """Keep some of the states of a stretch of the run."""
        states, done = stretch.states, self.offset + stretch.start
        active = None
        if self.lengths is not None:
            steps = torch.arange(done, done + len(states), device=self.lengths.device)
            active = self.lengths > steps.unsqueeze(-1)
        self.visited.take(states, stretch.inputs, stretch.after, done, active)

    def watch(self, map: RecurrentMap, start: int, states: Tensor, inputs: Tensor | None) -> None:
        """Look for kinks at some consecutive steps; ``start`` counts from 0, states have shape (L, B, N)."""
        if self.kinks is not None:
            self.kinks.see(map, self.offset + start, states, inputs, self.lengths)

    def warn_of_kinks(self) -> None:
        """Warn if the run rests on a kink of its map."""
        if self.kinks is not None:
            self.kinks.warn()

    def input_at(self, step: int) -> Tensor | None:
        """s_t of every trajectory, shape (B, M); ``step`` counts from 0."""
        return None if self.inputs is None else self.inputs[step]


@dataclass(frozen=True)
class Stretch:
    """Some consecutive steps of a run.

    Attributes:
        start: steps done before the first state.
        states: x before each step, shape (L, B, N).
        inputs: shape (L, B, M) or None.
        after: the state after the last step, shape (B, N).
    """

    start: int
    states: Tensor
    inputs: Tensor | None
    after: Tensor


def prepare_drive(
    map: RecurrentMap,
    inputs: Any,
    steps: int | None,
    initial_state: Tensor | None,
    transient: int = 0,
    lengths: Any = None,
    batch_first: bool | None = None,
) -> Drive:
    """Check the arguments that analyses share.

    Args:
        map: The map.
        inputs: A tensor, an array or anything `torch.as_tensor` takes, (T, M) or (T, B, M); or a PackedSequence; None
            when autonomous.
        steps: Number of steps of an autonomous map.
        initial_state: (N,) or (B, N); None for the map's own.
        transient: Leading steps that will not be counted.
        lengths: Steps of each of B sequences, (B,) integers; what lies behind them in the inputs is padding.
        batch_first: Three-dimensional inputs lie (B, T, M); None for the map's own layout.

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
        inputs, lengths = time_first(inputs, lengths, swapped)
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
        raise ValueError(f"no steps left to analyse: {steps} steps, of which {transient} are transient.")
    if batch < 1:
        raise ValueError("there are no trajectories: the batch dimension has size 0.")
    if initial_state is None:
        state = map.initial_state(batch)
    else:
        state = initial_state.expand(batch, -1)
    state = state.detach().clone(memory_format=torch.contiguous_format)  # forward mode refuses expanded tensors
    return Drive(state, inputs, steps, transient, 0, lengths, kinks=KinkWatch(transient, steps))


def run(map: RecurrentMap, drive: Drive, length: int) -> Iterator[Stretch]:
    """Step the map along the drive, ``length`` steps at a time, without derivatives.

    Args:
        map: the map.
        drive: initial states and inputs.
        length: steps in a stretch.

    Raises:
        FloatingPointError: a state is not finite; the message names step and trajectory.
    """
    state = drive.state
    for start in range(0, drive.steps, length):
        stop = min(start + length, drive.steps)
        states = []
        with torch.no_grad():  # closed before the yield, or the caller would be without gradients too
            for index in range(start, stop):
                states.append(state)
                after = map.step(state, drive.input_at(index))
                active = drive.active(index)
                state = after if active is None else torch.where(active.unsqueeze(-1), after, state)
            stretch = torch.stack(states)  # (L, B, N)
        refuse_overflow(torch.cat((stretch[1:], state[None])), drive.offset + start)
        found = Stretch(start, stretch, None if drive.inputs is None else drive.inputs[start:stop], state)
        drive.keep_some(found)
        drive.watch(map, start, stretch, found.inputs)
        yield found


def held_at_the_end(values: Tensor, steps: Sequence[int], last: Tensor) -> Tensor:
    """Return values of each trajectory that stay what they are at its last step.

    Args:
        values: Shape (B, L, ...).
        steps: The L steps that they belong to, ascending; each last step is one of them.
        last: The last step of each trajectory, shape (B,).
    """
    places = torch.searchsorted(torch.tensor(steps, device="cpu"), last).unsqueeze(-1)  # (B, 1)
    kept = torch.minimum(torch.arange(len(steps), device="cpu"), places).to(values.device)  # (B, L)
    return values[torch.arange(len(values), device=values.device).unsqueeze(-1), kept]


def refuse_overflow(after: Tensor, start: int) -> None:
    """Refuse states that are not finite.

    Args:
        after: the state after each of L steps, shape (L, B, N).
        start: steps done before the first of them, for the message.

    Raises:
        FloatingPointError: a state is not finite; the message names step and trajectory.
    """
    if math.isfinite(float(after.sum())):  # sums of numbers that are not finite are not
        return
    finite = torch.isfinite(after).all(dim=-1)  # (L, B)
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
    if not bool(torch.isfinite(tensor).all()):
        where = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        if swapped and tensor.ndim == 3:
            where[:2] = where[1::-1]
        raise ValueError(f"{name} holds a value that is not finite at index {tuple(where)}; clean them first.")
