"""Check the initial states and inputs of an analysis once, and bring them to one shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.checks.arguments import check_floating, check_integer, refuse_contexts
from lyapkit.checks.kinks import KinkWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.closed_loop import ClosedLoop
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.names import check_trajectory_names
from lyapkit.trajectories.networks import Networks
from lyapkit.trajectories.sequences import FLAT, as_tensor, check_lengths, fill_padding, lies_batch_first, time_first
from lyapkit.trajectories.visited import Visited


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
