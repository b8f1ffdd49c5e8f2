"""All states of a run, kept while it is walked."""

from __future__ import annotations

import torch
from torch import Tensor


class KeptStates:
    """The states of a run by their steps, on the CPU. Steps that are walked again replace what they were."""

    def __init__(self) -> None:
        self._room: Tensor | None = None

    def take(self, states: Tensor, after: Tensor, done: int) -> None:
        """Keep the states after consecutive steps.

        Args:
            states: States before each step, shape (L, B, N).
            after: The state after the last of them, shape (B, N).
            done: Number of steps done before the first of them.
        """
        end = done + len(states)
        if self._room is None or end > len(self._room):
            larger = torch.empty(max(end, 2 * done), *after.shape, dtype=after.dtype, device="cpu")
            if self._room is not None:
                larger[: len(self._room)] = self._room
            self._room = larger
        self._room[done : end - 1] = states[1:]
        self._room[end - 1] = after

    def between(self, first: int, last: int) -> Tensor:
        """Return the states after the steps first + 1, ..., last, shape (B, last - first, N)."""
        assert self._room is not None, "a run has been walked"
        return self._room[first:last].transpose(0, 1)
