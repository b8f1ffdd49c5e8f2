"""Keep some of the states of a run, so that the map can be checked at them afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN = 0.6180339887498949
"""Multiples of this number modulo 1 fill the unit interval evenly, and do not repeat with any period of the inputs."""

MOST_STEPS, LEAST_STEPS, NUMBERS = 48, 6, 20_000
"""Bounds on how many steps are kept; between them, so many that their states hold about ``NUMBERS`` numbers."""

PER_STEP = 3
"""Number of trajectories of a step that are kept."""

SUSPECTS = 8
"""Number of further states that are kept because their derivatives look most wrong."""

TOGETHER = 256
"""Smallest number of states that are screened together if a run hands over its steps one by one."""

MOST_SCREENED = 2**20
"""About so many states of a run are screened at most; those of a longer run are spread evenly over it."""

Suspicion = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""Function of states (P, N), inputs (P, M) or None, and next states (P, N). It scores how wrong derivatives look,
(P,)."""


@dataclass(frozen=True)
class Visit:
    """States that a run went through at one step.

    Attributes:
        step: Number of the step that starts at these states, counted from 1.
        trajectories: Indices of the trajectories, shape (p,).
        states: States before the step, shape (p, N).
        inputs: Inputs of the step, shape (p, M), or None.
        after: States after the step, shape (p, N).
    """

    step: int
    trajectories: Tensor
    states: Tensor
    inputs: Tensor | None
    after: Tensor


class Visited:
    """Keep the first and last states of a run, some that are spread evenly between them, and the most suspicious ones.

    Step t is kept if (t - 1) times the golden ratio, modulo 1, is among the smallest. These steps are spread evenly
    over the run, however long it turns out to be. The same steps are kept when the run is repeated.

    Args:
        steps: Steps of the run, of which those of long ones are not all screened.

    Attributes:
        suspicion: Scores the steps of up to `PER_STEP` trajectories, to find derivatives that are wrong at a few steps
            only. If it is None, no suspects are kept.
    """

    def __init__(self, steps: int = 0) -> None:
        self._steps = steps
        self.suspicion: Suspicion | None = None
        self._kept: dict[int, Visit] = {}
        self._gathered: list[_Part] = []
        self._suspects: list[tuple[float, Visit]] = []
        self._last: Visit | None = None

    @property
    def visits(self) -> list[Visit]:
        """Return the states that have been kept, in the order of the steps."""
        self._screen()
        last = [] if self._last is None else [self._last]
        even = {visit.step: visit for visit in (*self._kept.values(), *last)}.values()
        return sorted((*even, *(visit for _, visit in self._suspects)), key=lambda one: one.step)

    def forget_suspects(self) -> None:
        """Forget the states that looked wrong, before the run is repeated in another way."""
        self._gathered, self._suspects = [], []

    def take(
        self, states: Tensor, inputs: Tensor | None, after: Tensor, done: int, active: Tensor | None = None
    ) -> None:
        """Look through consecutive states of a run, and keep some.

        Args:
            states: States before each step, shape (L, B, N).
            inputs: Inputs of each step, shape (L, B, M), or None.
            after: The state after the last of these steps, shape (B, N).
            done: Number of steps done before the first of these steps.
            active: True if a trajectory does the step, shape (L, B); None if all do.
        """
        length, batch, size = states.shape
        room = max(LEAST_STEPS, min(MOST_STEPS, NUMBERS // max(1, size * min(batch, PER_STEP))))
        priority = torch.arange(done, done + length, dtype=torch.float64, device="cpu").mul_(GOLDEN).frac_()
        # once there are enough steps, those with a priority above the largest one kept need no look
        worst = max((step - 1) * GOLDEN % 1 for step in self._kept) if len(self._kept) >= room else 1.0
        first = torch.topk(priority, min(room, length), largest=False).indices  # no other step can be kept
        for index in first[priority[first] <= worst].sort().values.tolist():
            self._kept[done + index + 1] = _visit(states, inputs, after, done, index, active)
            if len(self._kept) > room:
                del self._kept[max(self._kept, key=lambda step: (step - 1) * GOLDEN % 1)]
        if self._last is None or done + length >= self._last.step:
            self._last = _visit(states, inputs, after, done, length - 1, active)
        if self.suspicion is not None:
            share = MOST_SCREENED / max(1, self._steps * min(batch, PER_STEP))
            chosen = torch.arange(length, device="cpu") if share >= 1 else (priority < share).nonzero().flatten()
            self._gather(chosen.to(states.device), states, inputs, after, done, active)
            if sum(len(part.states) for part in self._gathered) >= TOGETHER:
                self._screen()

    def _gather(
        self, steps: Tensor, states: Tensor, inputs: Tensor | None, after: Tensor, done: int, active: Tensor | None
    ) -> None:
        """Collect some trajectories of some steps, to be screened together."""
        length, batch = states.shape[:2]
        count = min(PER_STEP, batch)
        step = steps.repeat_interleave(count)
        spread = torch.arange(count, device=states.device).repeat(len(steps)) * (batch // count)
        trajectory = (step + done + spread) % batch
        if active is not None:
            does = active[step, trajectory]
            step, trajectory = step[does], trajectory[does]
        if len(step):
            given = None if inputs is None else inputs[step, trajectory].detach()
            here, following = states[step, trajectory].detach(), states[(step + 1) % length, trajectory].detach()
            following = torch.where((step == length - 1).unsqueeze(-1), after[trajectory].detach(), following)
            self._gathered.append(_Part(step + done + 1, trajectory, here, given, following))

    def _screen(self) -> None:
        """Keep the steps whose derivatives look most wrong, among the gathered and the earlier ones."""
        if self.suspicion is None or not self._gathered:
            return
        parts, self._gathered = self._gathered, []
        step, trajectory, states, after = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("step", "trajectory", "states", "after")
        )
        given = [part.inputs for part in parts if part.inputs is not None]
        inputs = torch.cat(given) if given else None
        score = self.suspicion(states, inputs, after)
        worst = score.topk(min(SUSPECTS, len(score)))
        for row in worst.indices[worst.values > 0].tolist():
            one = slice(row, row + 1)
            driven = None if inputs is None else inputs[one].clone()
            visit = Visit(int(step[row]), trajectory[one], states[one].clone(), driven, after[one].clone())
            self._suspects.append((float(score[row]), visit))
        self._suspects = sorted(self._suspects, key=lambda pair: -pair[0])[:SUSPECTS]


@dataclass(frozen=True)
class _Part:
    """States to be screened, one for each row: numbers of steps from 1, trajectories, before and after the step."""

    step: Tensor
    trajectory: Tensor
    states: Tensor
    inputs: Tensor | None
    after: Tensor


def _visit(states: Tensor, inputs: Tensor | None, after: Tensor, done: int, index: int, active: Tensor | None) -> Visit:
    batch, step = states.shape[1], done + index + 1
    running = torch.arange(batch, device=states.device) if active is None else active[index].nonzero().flatten()
    count = min(PER_STEP, len(running))
    offsets = [(step + number * len(running) // count) % len(running) for number in range(count)]
    chosen = running[offsets]
    following = after if index + 1 == len(states) else states[index + 1]
    # copies: a view would keep the whole stretch in memory
    return Visit(
        step,
        chosen,
        states[index, chosen].detach(),
        None if inputs is None else inputs[index, chosen].detach(),
        following[chosen].detach(),
    )
