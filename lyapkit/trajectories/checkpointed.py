"""Keep only a few states of a trajectory, and compute the others again when they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.drive import Drive
from lyapkit.trajectories.stepping import run


@dataclass(frozen=True)
class Checkpointed:
    """A run in segments. Each segment can be repeated from its first state, to the same bits.

    Attributes:
        parts: Segments, each with the state x at its start.
        final: Final state x_T, shape (B, N).
    """

    parts: list[Drive]
    final: Tensor


def checkpointed(
    map: RecurrentMap,
    drive: Drive,
    *,
    segment: int | None = None,
    on_states: Callable[[Tensor], object] = lambda states: None,
) -> Checkpointed:
    """Run a map along a drive, keeping about sqrt(T) of the T states.

    Args:
        map: The map.
        drive: Initial states and inputs.
        segment: Number of steps between kept states. The default is sqrt(T), with as many kept states as a segment has
            steps.
        on_states: Function that is called with the states *after* the steps of each segment, shape (L, B, N), in order.

    Raises:
        FloatingPointError: If a state is not finite; the message names step and trajectory.
    """
    segment = math.isqrt(drive.steps - 1) + 1 if segment is None else segment
    parts, state = list[Drive](), drive.state
    for stretch in run(map, drive, segment):
        parts.append(drive.part(stretch.start, stretch.states.shape[0], state))
        state = stretch.after
        on_states(torch.cat((stretch.states[1:], state[None])))
    return Checkpointed(parts, state)
