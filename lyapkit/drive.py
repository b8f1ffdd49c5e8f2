"""What an analysis is run on: initial states and inputs, checked once and brought to one shape."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.adapters.closed_loop import ClosedLoop
from lyapkit.arguments import check_floating, check_integer, refuse_inference_mode
from lyapkit.kinks import KinkWatch
from lyapkit.recurrent_map import RecurrentMap


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
        kinks: Looks for kinks of the map along the run.
    """

    state: Tensor
    inputs: Tensor | None
    steps: int
    transient: int
    offset: int = 0
    lengths: Tensor | None = None
    kinks: KinkWatch | None = None

    def part(self, start: int, length: int, state: Tensor) -> Drive:
        """``length`` steps from ``start`` on, continued from a state; the transient is in the first part only."""
        inputs = None if self.inputs is None else self.inputs[start : start + length]
        return Drive(
            state, inputs, length, max(0, self.transient - start), self.offset + start, self.lengths, self.kinks
        )

    def active(self, step: int) -> Tensor | None:
        """Which trajectories do a step, shape (B,); ``step`` counts from 0. None when all do."""
        if self.lengths is None or bool((self.lengths > self.offset + step).all()):
            return None
        return self.lengths > self.offset + step

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
) -> Drive:
    """Check the arguments that analyses share.

    Args:
        map: the map.
        inputs: (T, M) or (T, B, M), a tensor, an array or anything `torch.as_tensor` takes; None when autonomous.
        steps: number of steps of an autonomous map.
        initial_state: (N,) or (B, N); None for the map's own.
        transient: leading steps that will not be counted.
        lengths: steps of each of B sequences, (B,) integers; what lies behind them in the inputs is padding.

    Raises:
        TypeError: wrong kind of argument (integer inputs, both or neither of inputs and steps, lengths without inputs).
        ValueError: wrong shape, dtype, device, number of steps, or values that are not finite.
    """
    refuse_inference_mode()
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
        batch = initial_state.shape[0] if initial_state.ndim == 2 else 1
    if inputs is not None:
        inputs = _checked(map, "inputs", inputs, size, (2, 3))
        if inputs.ndim == 3 and getattr(map, "batch_first", False):
            warnings.warn(
                f"the module has batch_first=True, but inputs are read time first here: {inputs.shape[0]} steps of "
                f"{inputs.shape[1]} sequences. If it is the other way round, pass inputs.transpose(0, 1).",
                stacklevel=4,
            )
        steps = inputs.shape[0]
        if inputs.ndim == 2:
            inputs = inputs.unsqueeze(1).expand(-1, batch, -1)  # (T, B, M): one input, many initial states
        elif initial_state is None or initial_state.ndim == 1:
            batch = inputs.shape[1]
        elif inputs.shape[1] != batch:
            raise ValueError(
                f"inputs drive {inputs.shape[1]} trajectories (T, B, M), initial_state has {batch}; make them equal."
            )
    if steps is None:
        raise TypeError("the map is autonomous; say how many steps to run with steps=.")
    steps = check_integer("steps", steps)
    if steps < 1:
        what = "steps must be" if inputs is None else "inputs must have"
        raise ValueError(f"{what} at least 1{'' if inputs is None else ' step'}, got {steps}.")
    transient = check_integer("transient", transient)
    if transient < 0:
        raise ValueError(f"transient must be at least 0, got {transient}.")
    if steps - transient < 1:
        raise ValueError(f"no steps left to analyse: {steps} steps, of which {transient} are transient.")
    if batch < 1:
        raise ValueError("there are no trajectories: the batch dimension has size 0.")
    if initial_state is None:
        state = map.initial_state(batch)
    else:
        state = initial_state.expand(batch, -1)
    state = state.detach().clone(memory_format=torch.contiguous_format)  # forward mode refuses expanded tensors
    lengths = _checked_lengths(lengths, inputs, transient)
    return Drive(state, inputs, steps, transient, 0, lengths, KinkWatch(transient, steps))


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
        inputs = None if drive.inputs is None else drive.inputs[start:stop]
        drive.watch(map, start, stretch, inputs)
        yield Stretch(start, stretch, inputs, state)


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


def _checked_lengths(lengths: Any, inputs: Tensor | None, transient: int) -> Tensor | None:
    if lengths is None:
        return None
    if inputs is None:
        raise TypeError("lengths= is for sequences of inputs; an autonomous map runs steps= from every state.")
    lengths = as_tensor("lengths", lengths)
    assert isinstance(lengths, Tensor), "what as_tensor returns"
    steps, batch = inputs.shape[:2]
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(f"lengths must be integers, one for each sequence, got {lengths.dtype}.")
    if lengths.shape != (batch,):
        raise ValueError(
            f"lengths must have one entry for each of {batch} sequences, got shape {tuple(lengths.shape)}."
        )
    wrong = (lengths <= transient) | (lengths > steps)
    if bool(wrong.any()):
        which = int(wrong.nonzero()[0])
        raise ValueError(
            f"lengths must lie between {transient + 1}, one step after the transient, and the {steps} steps of the "
            f"inputs; sequence {which} has {int(lengths[which])}."
        )
    return lengths.to(device=inputs.device, dtype=torch.int64)


FLAT = (
    "a flat state holds what all layers keep, in the order of as_map(model).unit_names: of (layers, B, H) states, "
    "h.movedim(0, 1).flatten(1) for an RNN or a GRU, torch.stack((h, c), 1).permute(2, 0, 1, 3).flatten(1) for an "
    "LSTM, and torch.cat((h[0], c[0]), -1) for one of a single layer"
)
"""The way from the states of PyTorch's layers to flat ones."""


def as_tensor(name: str, value: Any) -> Tensor:
    """A dense tensor of a tensor, an array or nested numbers.

    Args:
        name: of the argument, for messages.
        value: what was given.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}; convert with .to_dense().")
        return value
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
        remedy = "use torch.stack"
        if name == "initial_state":
            remedy = f"flat states are wanted, (N,) or (B, N); {FLAT}"
        raise TypeError(f"{name} must be one tensor, got a {type(value).__name__} of tensors; {remedy}.")
    if isinstance(value, str | dict):
        flat = "; flat states are wanted, (N,) or (B, N)" if name == "initial_state" else ""
        if isinstance(value, str):
            flat += "; make tokens of a text and embed them" if name == "inputs" else ""
        raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}{flat}.")
    try:
        if hasattr(value, "__array__"):  # a copy: PyTorch takes no read-only, reversed or byte-swapped arrays
            array = np.array(value)
            if array.dtype.kind not in "biufc":
                raise TypeError(f"numbers are wanted, not {array.dtype}")
            return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=False))
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        if isinstance(value, Iterable) and not isinstance(value, list | tuple) and not hasattr(value, "__array__"):
            reason = "take one sequence or batch out of it, such as next(iter(loader))"
        elif "str" in reason:
            reason = "make tokens of texts and embed them"
        raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}: {reason}.") from error


def _checked(map: RecurrentMap, name: str, value: Any, size: int, ranks: tuple[int, int]) -> Tensor:
    tensor = as_tensor(name, value)
    letter = "M" if name == "inputs" else "N"
    shapes = (
        f"(T, {letter}) or (T, B, {letter})" if name == "inputs" else f"({letter},) or (B, {letter})"
    ) + f" with {letter} = {size}"
    check_floating(name, tensor.dtype, map.dtype)
    if tensor.ndim not in ranks or tensor.shape[-1] != size:
        layout = f"; {FLAT}" if name == "initial_state" else ""
        raise ValueError(f"{name} must have shape {shapes}, got {tuple(tensor.shape)}{layout}.")
    if tensor.dtype != map.dtype:
        raise ValueError(
            f"{name} has type {tensor.dtype} but the map computes in {map.dtype}; convert with .to({map.dtype}), or "
            "the module with .to()."
        )
    if tensor.device != map.device:
        raise ValueError(f"{name} is on {tensor.device} but the map on {map.device}; move one with .to().")
    if not bool(torch.isfinite(tensor).all()):
        where = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        raise ValueError(f"{name} holds a value that is not finite at index {tuple(where)}; clean them first.")
    return tensor.detach()
