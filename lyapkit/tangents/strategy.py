"""Which way tangents are carried, chosen once per analysis and recorded in its result."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents.forward import ForwardTangents
from lyapkit.tangents.reverse import ReverseTangents


class TangentStrategy(Protocol):
    """Carries tangent vectors one step along a trajectory."""

    name: str

    def push(self, map: RecurrentMap, state: Tensor, input: Tensor | None, frame: Tensor) -> Tensor:
        """J times the frame: (..., N, k) -> (..., N, k)."""
        ...

    def jacobian(self, map: RecurrentMap, state: Tensor, input: Tensor | None) -> Tensor:
        """The Jacobian at each state, (..., N, N)."""
        ...


def choose_strategy(map: RecurrentMap, state: Tensor, input: Tensor | None) -> TangentStrategy:
    """Forward mode where the map supports it, else reverse mode.

    Args:
        map: the map.
        state: states to try it on, shape (B, N).
        input: their inputs, shape (B, M), or None.

    Raises:
        ValueError: the map is not differentiable either way.
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
