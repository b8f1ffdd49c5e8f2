"""Interfaces of derivatives, which multiply by the Jacobian of a step, and of strategies, which carry tangents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents
from lyapkit.tangents.reverse import ReverseTangents
from lyapkit.trajectories.drive import Drive, Stretch

STRETCH_BYTES = 8 * 2**20
"""Memory for Jacobians or factors that are computed together; chosen so that a stretch stays near the cache."""

LONGEST_STRETCH = 1024


class StepDerivative(Protocol):
    """Multiplication by the Jacobian of a step, at any states."""

    name: str

    def push(self, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
        """Return J times the frame: (..., N, k) -> (..., N, k)."""
        ...

    def jacobian(self, map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the Jacobian at each state, (..., N, N)."""
        ...


class Carry(Protocol):
    """A function that carries a frame over some steps of a stretch."""

    def __call__(self, frame: Tensor, first: int, last: int) -> Tensor:
        """Return J_last-1 ... J_first times the frame, (B, N, k) -> (B, N, k), steps counted within the stretch."""
        ...


class TangentStrategy(Protocol):
    """A way to carry frames of k tangent vectors along a trajectory, one stretch after the other.

    Attributes:
        name: Name of the strategy, for the provenance of results.
        step_bytes: Memory per step in addition to the frame: factors, Jacobians or states.
        stretch: Largest number of steps of a stretch.
        decomposes: True if one call can go through many windows, as `CompiledTangents.windows` does.
    """

    name: str
    step_bytes: int
    stretch: int
    decomposes: bool

    def states(self, drive: Drive, start: int, steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the states of a stretch.

        Args:
            drive: Inputs and lengths.
            start: Number of steps done before the stretch.
            steps: Number of steps of the stretch, L.
            state: State at its start, shape (B, N).

        Returns:
            The states before each step, shape (L, B, N), and the state after the last one, shape (B, N).
        """
        ...

    def carry(self, stretch: Stretch) -> Carry:
        """Return a function that carries frames over the steps of a stretch, as if no sequence ended."""
        ...


def stretch_of(step_bytes: int) -> int:
    """Return the number of steps of a stretch if each step takes so much memory."""
    return max(1, min(LONGEST_STRETCH, STRETCH_BYTES // max(1, step_bytes)))


def choose_derivative(map: RecurrentMap, state: Tensor, input: Tensor | None) -> StepDerivative:
    """Choose forward mode if the map supports it, else reverse mode.

    Args:
        map: The map.
        state: States to try it on, shape (B, N).
        input: Inputs of these states, shape (B, M), or None.

    Raises:
        ValueError: If the map is not differentiable either way.
    """
    forward = ForwardTangents()
    try:
        forward.push(map, state[:1], None if input is None else input[:1], state[:1].unsqueeze(-1))
    except (RuntimeError, NotImplementedError) as forward_error:
        reverse = ReverseTangents()
        try:
            reverse.jacobian(map, state[:1], None if input is None else input[:1])
        except RuntimeError as reverse_error:
            raise ValueError(
                f"the map cannot be differentiated. Forward mode: {forward_error} Reverse mode: {reverse_error} "
                "Express the step in differentiable torch operations."
            ) from reverse_error
        return reverse
    return forward


def jacobian_of(push: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Return the Jacobian of a step, shape (B, N, N): carry the identity, in parts as wide as a frame.

    Args:
        push: Function that carries frames over the step.
        like: Example of a frame that it carries, shape (B, N, k).
    """
    batch, size, k = like.shape
    identity = torch.eye(size, -(-size // k) * k, dtype=like.dtype, device=like.device)  # padded with zeros
    return torch.cat([push(part.repeat(batch, 1, 1)) for part in torch.split(identity, k, dim=-1)], dim=-1)[..., :size]
