"""Iterate a map p times under a constant input: its displacement of states, and the Jacobian."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import ReverseTangents, StepDerivative

BYTES = 8 * 2**20
"""Memory for Jacobians that are computed together: 100 of 100 units. Larger batches gain nothing."""


class IteratedMap:
    """The map f^p at a constant input. All results are float64.

    Args:
        map: The map f.
        tangents: Derivative that its Jacobians are computed with.
        input: Input s, shape (M,), or None for an autonomous map.
        period: Number of iterations, p.
    """

    def __init__(self, map: RecurrentMap, tangents: StepDerivative, input: Tensor | None, period: int) -> None:
        self.map, self.tangents, self.period = map, tangents, period
        self._input = input

    @property
    def eps(self) -> float:
        """Relative distance of neighbouring numbers in the type of the map."""
        return torch.finfo(self.map.dtype).eps

    def input_of(self, states: Tensor) -> Tensor | None:
        """Return the input of each of some states (..., N), shape (..., M)."""
        return None if self._input is None else self._input.expand(*states.shape[:-1], -1)

    def at_once(self) -> int:
        """Return the number of states to process together."""
        return max(1, BYTES // (8 * self.map.state_size**2))

    @torch.no_grad()
    def orbit(self, states: Tensor, steps: int) -> Tensor:
        """Return states (S, N) and their next ones, in the type of the map, shape (steps + 1, S, N)."""
        if not len(states):
            return states.expand(steps + 1, *states.shape)
        found = [states]
        for _ in range(steps):
            found.append(self.map.step(found[-1], self.input_of(states)))
        return torch.stack(found)

    def displacement(self, states: Tensor) -> Tensor:
        """Return f^p(x) - x for states (S, N)."""
        return self.orbit(states, self.period)[-1].double() - states.double()

    def jacobian(self, states: Tensor) -> Tensor:
        """Return the Jacobian of f^p for states (S, N), shape (S, N, N): the product of those along the orbit."""
        if not len(states):
            return torch.empty(0, *states.shape[1:], states.shape[1], dtype=torch.float64, device=states.device)
        orbit = self.orbit(states, self.period - 1)
        product = self.tangents.jacobian(self.map, orbit[0], self.input_of(states)).double()
        for state in orbit[1:]:
            product = self.tangents.jacobian(self.map, state, self.input_of(states)).double() @ product
        return product


def dense_tangents(map: RecurrentMap, tangents: StepDerivative, state: Tensor, input: Tensor | None) -> StepDerivative:
    """Return the faster way to whole Jacobians: row by row backwards, if this agrees with the given way.

    The backward way is two to three times as fast for a whole Jacobian (see benchmarks/fixed_points.py). It is wrong
    only if a custom function has a wrong backward.

    Args:
        map: The map.
        tangents: Derivative that is known to work.
        state: States to compare at, shape (B, N).
        input: Inputs of these states, shape (B, M), or None.
    """
    expected = tangents.jacobian(map, state, input)
    try:
        found = ReverseTangents().jacobian(map, state, input)
    except (RuntimeError, ValueError, NotImplementedError):
        return tangents
    room = 1e3 * torch.finfo(map.dtype).eps * expected.abs().amax()
    return ReverseTangents() if bool(((found - expected).abs() <= room).all()) else tangents
