"""Some of the states of a run, kept while it goes, to look at the map there again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN = 0.6180339887498949
"""Multiples of this number modulo 1 fill the unit interval evenly, and keep step with no period of the inputs."""

MOST_STEPS, LEAST_STEPS, NUMBERS = 48, 6, 20_000
"""How many steps are kept: so many that their states hold about ``NUMBERS`` numbers."""

PER_STEP = 3
"""Trajectories of a step that are kept."""

SUSPECTS = 8
"""Further states that are kept because their derivatives look most wrong."""

Suspicion = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""From states (P, N), inputs (P, M) or None, and states after the step (P, N) to how wrong derivatives look, (P,)."""


@dataclass(frozen=True)
class Visit:
    """States that a run went through at one step.

    Attributes:
        step: the step that starts there, counted from 1.
        trajectories: which ones, shape (p,).
        states: shape (p, N).
        inputs: of the step, shape (p, M), or None.
        after: States after the step, shape (p, N).
    """

    step: int
    trajectories: Tensor
    states: Tensor
    inputs: Tensor | None
    after: Tensor


class Visited:
    """Keep the first state, the last one, some that are spread evenly over what lies between, and the most suspicious.

    A step t is kept where t times the golden ratio, modulo 1, is among the smallest. These steps are spread evenly over
    the run, however long it turns out to be, and are the same ones when the run is done again.

    Attributes:
        suspicion: Looks at every step of up to `PER_STEP` trajectories, for what happens at few steps only; None keeps
            no suspects.
    """

    def __init__(self) -> None:
        self.suspicion: Suspicion | None = None
        self._kept: dict[int, Visit] = {}
        self._suspects: list[tuple[float, Visit]] = []
        self._last: Visit | None = None

    @property
    def visits(self) -> list[Visit]:
        """What has been kept, in the order of the steps."""
        last = [] if self._last is None else [self._last]
        even = {visit.step: visit for visit in (*self._kept.values(), *last)}.values()
        return sorted((*even, *(visit for _, visit in self._suspects)), key=lambda one: one.step)

    def take(
        self, states: Tensor, inputs: Tensor | None, after: Tensor, done: int, active: Tensor | None = None
    ) -> None:
        """Look through consecutive states of a run.

        Args:
            states: shape (L, B, N).
            inputs: shape (L, B, M), or None.
            after: The state after the last of them, shape (B, N).
            done: steps done before the first of them.
            active: which trajectories do each step, shape (L, B); None when all do.
        """
        length, batch, size = states.shape
        room = max(LEAST_STEPS, min(MOST_STEPS, NUMBERS // max(1, size * min(batch, PER_STEP))))
        priority = torch.arange(done, done + length, dtype=torch.float64, device="cpu").mul_(GOLDEN).frac_()
        # beyond the largest that is kept a step need not be looked at, once there are enough
        worst = max((step - 1) * GOLDEN % 1 for step in self._kept) if len(self._kept) >= room else 1.0
        for index in (priority <= worst).nonzero().flatten().tolist():
            self._kept[done + index + 1] = _visit(states, inputs, after, done, index, active)
            if len(self._kept) > room:
                del self._kept[max(self._kept, key=lambda step: (step - 1) * GOLDEN % 1)]
        if self._last is None or done + length >= self._last.step:
            self._last = _visit(states, inputs, after, done, length - 1, active)
        if self.suspicion is not None:
            self._suspect(self.suspicion, states, inputs, torch.cat((states[1:], after.unsqueeze(0))), done, active)

    def _suspect(
        self,
        suspicion: Suspicion,
        states: Tensor,
        inputs: Tensor | None,
        after: Tensor,
        done: int,
        active: Tensor | None,
    ) -> None:
        """Keep the steps whose derivatives look most wrong of these and of those before."""
        length, batch = states.shape[:2]
        count = min(PER_STEP, batch)
        step = torch.arange(length, device=states.device).repeat_interleave(count)
        trajectory = (step + done + torch.arange(count, device=states.device).repeat(length) * (batch // count)) % batch
        if active is not None:
            does = active[step, trajectory]
            step, trajectory = step[does], trajectory[does]
        if not len(step):
            return
        given = None if inputs is None else inputs[step, trajectory]
        score = suspicion(states[step, trajectory], given, after[step, trajectory])
        worst = score.topk(min(SUSPECTS, len(score)))
        for place in worst.indices[worst.values > 0].tolist():
            at, which = int(step[place]), trajectory[place].reshape(1)
            visit = Visit(
                done + at + 1,
                which,
                states[at, which].detach(),
                None if inputs is None else inputs[at, which].detach(),
                after[at, which].detach(),
            )
            self._suspects.append((float(score[place]), visit))
        self._suspects = sorted(self._suspects, key=lambda pair: -pair[0])[:SUSPECTS]


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
