"""Initial states and inputs of the trajectories of a run, and stretches of their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapkit.checks.kinks import KinkWatch
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.kept_states import KeptStates
from lyapkit.trajectories.names import check_trajectory_names
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
