"""A search for kinks of the map on which a run rests, where it has no derivative."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap

LOOKS = 24
"""Number of evenly spaced steps of a run that are looked at, besides the first four and the last two."""

TRAJECTORIES = 4
"""Number of trajectories that are looked at in each step, evenly spaced in the batch."""

ANNIHILATING = 16
"""Largest number of further steps that are looked at because they annihilate all directions."""


class KinkWatch:
    """Watch that looks for kinks at some of the states of a run, and warns of them once.

    Args:
        first: The first step that counts, from 0.
        steps: Number of steps of the run.
    """

    def __init__(self, first: int, steps: int) -> None:
        self._first, self._steps = first, steps
        stride = max(1, (steps - first) // LOOKS)
        self._wanted = {*range(first, steps, stride), *range(first, first + 4), steps - 2, steps - 1}
        self._looked: dict[int, int | None] = {}  # the trajectory of each step that rests on a kink
        self._annihilating: set[int] = set()

    def see(self, map: RecurrentMap, first: int, states: Tensor, inputs: Tensor | None, lengths: Tensor | None) -> None:
        """Look at the chosen ones of some consecutive steps.

        Args:
            map: The map.
            first: Number of the first step, from 0.
            states: States before each step, shape (L, B, N).
            inputs: Shape (L, B, M), or None.
            lengths: Steps that each trajectory takes, shape (B,); None when they take all.
        """
        last = first + len(states)
        steps = sorted(step for step in self._wanted if max(first, self._first) <= step < last)
        self._look(map, [step for step in steps if step not in self._looked], first, states, inputs, lengths)

    def see_annihilating(self, map: RecurrentMap, step: int, state: Tensor, input: Tensor | None, gone: Tensor) -> None:
        """Look at a step that annihilates all directions of some trajectories, gone, shape (B,)."""
        if step < self._first or step in self._annihilating or len(self._annihilating) >= ANNIHILATING:
            return
        self._annihilating.add(step)
        which = gone.nonzero().flatten()[:TRAJECTORIES]
        on_kink = kinked(map, state[which], None if input is None else input[which])
        if bool(on_kink.any()):
            self._looked[step] = int(which[on_kink][0])

    def _look(
        self,
        map: RecurrentMap,
        steps: list[int],
        first: int,
        states: Tensor,
        inputs: Tensor | None,
        lengths: Tensor | None,
    ) -> None:
        if not steps:
            return
        batch = states.shape[1]
        which = torch.unique(torch.linspace(0, batch - 1, min(batch, TRAJECTORIES), device="cpu").long()).to(
            states.device
        )
        at = torch.tensor(steps, device=states.device) - first
        chosen = states[at][:, which].flatten(end_dim=1)
        drive = None if inputs is None else inputs[at][:, which].flatten(end_dim=1)
        on_kink = kinked(map, chosen, drive).reshape(len(steps), -1)
        if lengths is not None:
            on_kink &= lengths[which] > (at + first).unsqueeze(-1)
        for step, row in zip(steps, on_kink, strict=True):
            self._looked[step] = int(which[row][0]) if bool(row.any()) else None

    def warn(self) -> None:
        """Warn if the run rests on a kink: at two steps or more, or where a step annihilates everything."""
        found = sorted(step for step, trajectory in self._looked.items() if trajectory is not None)
        if len(found) < min(2, len(self._looked)) and not self._annihilating.intersection(found):
            return
        if not found:
            return
        shown = ", ".join(str(step + 1) for step in found[:5]) + (", ..." if len(found) > 5 else "")
        warnings.warn(
            f"The run rests on a kink of the map, at {len(found)} of the {len(self._looked)} steps that were looked at "
            f"(step {shown}; trajectory {self._looked[found[0]]}): on both sides of the state the map has different "
            "derivatives, as a rectifier has at 0. Automatic differentiation takes one of them, 0 for relu, so that "
            "directions may count as annihilated, with exponent -inf and gradient 0, that perturbations to one side "
            "survive. Leave padding out with lengths=, leave quiet leading steps out with transient= or by starting "
            "later, or give the map a tiny bias that moves it off the kink.",
            stacklevel=3,
        )


@torch.no_grad()
def kinked(map: RecurrentMap, states: Tensor, inputs: Tensor | None) -> Tensor:
    """Tell at which states a map has a kink: its one-sided differences along a random direction disagree there.

    Near a kink they agree as soon as the step is shorter than the distance to it. Two short steps are therefore tried,
    and both have to disagree by the same amount.

    Args:
        map: The map.
        states: Shape (n, N).
        inputs: Shape (n, M), or None.

    Returns:
        Shape (n,).
    """
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(states.shape[1:], generator=generator, dtype=torch.float64, device="cpu").to(states)
    eps = torch.finfo(states.dtype).eps
    room = 1 + states.abs().amax(dim=-1, keepdim=True)
    direction = direction * torch.where(states == 0, room, states.abs())  # a tiny entry is beside 0, not on it
    here = map.step(states, inputs)
    noise = 4 * eps * (room + here.abs().amax(dim=-1, keepdim=True))
    bends, certain = [], torch.ones_like(here, dtype=torch.bool)
    for length in (eps**0.5, eps**0.5 / 64):
        ahead = map.step(states + length * direction, inputs) - here
        behind = here - map.step(states - length * direction, inputs)
        bend = (ahead - behind).abs()
        certain &= bend > 1e-3 * torch.maximum(ahead.abs(), behind.abs()) + noise
        bends.append(bend / length)
    found: Tensor = (certain & ((bends[0] - bends[1]).abs() <= 0.2 * bends[0])).any(dim=-1)
    return found
