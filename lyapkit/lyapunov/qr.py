r"""Run Algorithm 1: find the growth of a tangent frame by repeated QR decomposition.

With :math:`V_t = J_t \cdots J_1` (eq. 3 of Dubinin & Effenberger 2024) and the frame :math:`Q_0`,

.. math:: J_t Q_{t-1} = Q_t R_t, \qquad \lambda_i = \lim_{T \to \infty} \frac{1}{T} \sum_t \log |(R_t)_{ii}|.

This is the discrete QR method of Benettin et al. (1980), as in Sandri (1996) and appendix A of the paper. The frame may
also be decomposed only every q steps: :math:`J_{t+q-1} \cdots J_t Q = Q' R`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lyapkit.lyapunov.collected import CERTIFIED_EVERY, CERTIFIED_WINDOWS, Collected
from lyapkit.lyapunov.decomposition import (
    Decomposition,
    Refill,
    behind,
    decompose,
    decompose_sound,
    settle,
    sound_limits,
)
from lyapkit.lyapunov.growth import Growth, in_order
from lyapkit.lyapunov.interval import IntervalRule, replayable_steps
from lyapkit.lyapunov.one_step import Effort
from lyapkit.lyapunov.steadiness import Repetition
from lyapkit.tangents.along import TangentRun
from lyapkit.tangents.strategy import Carry, jacobian_of
from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.trajectories.drive import Drive, Stretch


def initial_frame(batch: int, size: int, k: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Return the identity when k = N (Algorithm 1), else a random orthonormal frame; shape (B, N, k).

    It is the same for all trajectories, so no trajectory depends on the others in its batch.
    """
    if k == size:
        return torch.eye(size, dtype=like.dtype, device=like.device).repeat(batch, 1, 1)
    gaussian = torch.randn(size, k, generator=generator, dtype=torch.float64, device="cpu")
    orthonormal: Tensor = torch.linalg.qr(gaussian).Q
    return orthonormal.to(like).repeat(batch, 1, 1)


def qr_growth(
    run: TangentRun,
    frame: Tensor,
    *,
    interval: int | None,
    refill: Refill,
    drive: Drive | None = None,
    earlier: Growth | None = None,
    effort: Effort | None = None,
    join: bool = False,
    on_steps: Callable[[int], object] = lambda steps: None,
) -> Growth:
    """Run Algorithm 1.

    If the frame overflows, underflows or may have lost a direction in a window, the window is repeated with a
    decomposition at every step. Each step then decides which directions it annihilates
    (`lyapkit.lyapunov.decomposition.settle`). An annihilated direction has log growth -inf at that step, and starts
    again at random, behind all others.

    Args:
        run: The trajectory; its transient steps settle state and frame.
        frame: Orthonormal frame to start from, shape (B, N, k); its dtype is that of the QR.
        interval: Number of steps between decompositions, q; None for an automatic interval.
        refill: Generator of the directions that replace annihilated ones.
        drive: Part of the trajectory to go along; all of it by default.
        earlier: Growth before this part, whose interval goes on.
        effort: Effort left for single steps if this continues a run; by default, that of a new run.
        join: True to join windows on the way, so that the growth takes fixed memory; see `Growth.joined`.
        on_steps: Function called with the number of steps done since the last call (progress).

    Returns:
        The growth in this part.

    Raises:
        FloatingPointError: If state or frame are not finite, or if a window that is too long to be kept lost a
            direction; the message names step and trajectory.
    """
    drive = run.drive if drive is None else drive
    rule = IntervalRule.of(interval, frame.dtype, frame.shape[-1])
    if earlier is not None and earlier.rule is not None:
        rule = earlier.rule
    before = 0 if earlier is None else earlier.steps
    counted = before + int(drive.last_steps.min()) - drive.transient
    collected = Collected(frame, before if join else None)
    windows = _Windows(run, drive, frame, collected, rule, counted, refill, effort or Effort())
    state = drive.state
    for stretch, carry in run.along(drive):
        state, begin = stretch.after, 0
        while begin < stretch.steps:
            steps = windows.go_far(stretch, begin)
            if not steps:
                steps = min(stretch.steps - begin, windows.left)
                windows.go(stretch, carry, begin, begin + steps)
            begin += steps
            on_steps(steps)
    return windows.growth(state)


FAR_ABOVE = 10
"""A call of many windows ends if the condition number exceeds its limit by this factor."""

MOST_WINDOWS = 2**16
"""Largest number of windows in one call."""


class _Step(NamedTuple):
    """A step of a window: its stretch, a function that carries frames over it, and its place in the stretch."""

    stretch: Stretch
    carry: Carry
    place: int

    def push(self, frame: Tensor) -> Tensor:
        return self.carry(frame, self.place, self.place + 1)


class _Windows:
    """The frame, and the steps since its last decomposition.

    Args:
        run: The trajectory.
        drive: Part of the trajectory to go along.
        frame: Frame at its start, shape (B, N, k).
        collected: Collector of their results.
        rule: Rule that says when to decompose.
        counted: Number of counted steps of the whole run, in its shortest sequence.
        refill: Generator of the directions that replace annihilated ones.
        effort: Effort left for single steps.
    """

    def __init__(
        self,
        run: TangentRun,
        drive: Drive,
        frame: Tensor,
        collected: Collected,
        rule: IntervalRule,
        counted: int,
        refill: Refill,
        effort: Effort,
    ) -> None:
        self._run, self._drive, self._refill = run, drive, refill
        self._replayable = replayable_steps(run.strategy.step_bytes)
        self._rule = rule.within(counted, self._replayable)
        self._collected = collected
        self._frame = self._opening = frame  # now, and at the start of the window
        self._steps: list[_Step] = []
        self._length = self._done = 0
        self._resting: Tensor | None = None
        self._repetition: Repetition | None = None
        self._effort = effort
        self._most, self._patience = MOST_WINDOWS, 0

    @property
    def left(self) -> int:
        """Number of steps until the window ends. The end of the transient ends a window, too."""
        left = self._rule.interval - self._length
        return min(left, self._drive.transient - self._done) if self._done < self._drive.transient else left

    def go(self, stretch: Stretch, carry: Carry, first: int, last: int) -> None:
        """Carry the frame over steps of a stretch, at most to the end of the window."""
        if self._repetition is None and self._done == self._drive.transient:
            self._repetition = Repetition(self._frame, self._collected.order)
            if self._drive.transient:
                self._effort.renew()  # the transient does not count
        self._frame = carry(self._frame, first, last)
        self._length, self._done = self._length + last - first, self._done + last - first
        if self._length <= self._replayable:
            self._steps += [_Step(stretch, carry, place) for place in range(first, last)]
        if self._length >= self._rule.interval or self._done in (self._drive.steps, self._drive.transient):
            self._let_resting_wake()
            self.end(self._decomposed())

    def go_far(self, stretch: Stretch, first: int) -> int:
        """Go through many windows of a stretch in one call, as long as they are sound.

        `go` takes the first windows, which are checked more closely, and suspect ones. The interval is the same for all
        windows of the call; afterwards it follows the worst of them.

        Args:
            stretch: The stretch.
            first: Step of the stretch to begin with.

        Returns:
            Number of steps done; 0 if many windows cannot be done now.

        Raises:
            TracingFailed: If repeating a decomposition gives another result.
        """
        strategy, collected, every = self._run.strategy, self._collected, self._rule.interval
        if not isinstance(strategy, CompiledTangents) or not strategy.decomposes or stretch.active is not None:
            return 0
        settling = self._done < self._drive.transient
        looked = collected.windows >= CERTIFIED_WINDOWS and math.isfinite(collected.bound)
        steady = settling or (self._repetition is not None and self._repetition.over)
        if self._length or self._resting is not None or not looked or not steady:
            return 0
        self._patience -= 1
        room = min(stretch.steps - first, self._drive.transient - self._done if settling else stretch.steps)
        count = min(room // every, self._most)
        if count < 2 or self._patience > 0:
            return 0
        floor = collected.floor(every).squeeze(-1)
        least, smallest, largest = sound_limits(self._frame)
        if self._rule.limit is not None:
            least = max(least, 1 / (FAR_ABOVE * self._rule.limit))  # the interval has to be shortened at once
        found = None
        while found is None and count >= 2:
            certified = range(-collected.windows % CERTIFIED_EVERY, count, CERTIFIED_EVERY)
            found, sound = strategy.windows(
                stretch,
                first,
                self._frame,
                every,
                count,
                floor=floor,
                limits=(least, smallest, largest),
                certified=certified,
            )
            if sound < count:
                self._most = max(2, sound)
            count = sound
        if found is None:
            self._patience = 2 ** (1 + max(0, -self._patience).bit_length())
            return 0
        self._most = min(2 * self._most, MOST_WINDOWS)
        worst = collected.add_many(every, found, certified, not settling)
        self._rule = self._rule.after(every, worst, count)
        self._opening = self._frame = found.frame
        self._done += count * every
        return count * every

    def end(self, part: Decomposition) -> None:
        """End the window with its decomposition."""
        self._rule = self._rule.after(self._length, self._collected.worst_condition(self._length, part))
        self._collected.add(self._length, part, self._done > self._drive.transient)
        if self._repetition is not None:
            self._repetition.follow([step.push for step in self._steps], part)
        self._opening = self._frame = part.q
        self._resting = part.resting
        self._steps, self._length = [], 0

    def growth(self, state: Tensor) -> Growth:
        """Return the growth of all windows."""
        if self._repetition is not None:
            self._collected.unresolved = self._collected.unresolved | self._repetition.differs()
        return self._collected.growth(state, self._frame, self._rule)

    def _let_resting_wake(self) -> None:
        """Move resting columns that grow again behind the others."""
        order = None if self._resting is None else behind(self._frame, self._resting)
        if order is not None:
            self._frame, self._opening = (in_order(one, order.unsqueeze(-2)) for one in (self._frame, self._opening))
            self._collected.move(order)
            if self._repetition is not None:
                self._repetition.move(order)

    def _decomposed(self) -> Decomposition:
        collected, length = self._collected, self._length
        if math.isfinite(collected.bound) or not collected.windows:  # else it is most likely that of the last window
            part = decompose_sound(self._frame, collected.certify_next, collected.bound, collected.floor(length))
            if part is not None:
                return part
        whole = decompose(self._frame, collected.floor(length))
        if bool(whole.finite.all()) and not bool(whole.suspect.any() | (whole.lost.any() & (length > 1))):
            return whole
        if length <= len(self._steps):
            return self._again(whole)
        if not bool(whole.lost.any()):
            return whole
        trajectory = int(whole.lost.nonzero()[0])
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} overflowed, underflowed or lost a direction to rounding in "
            f"the {length} steps before step {self._drive.offset + self._done}; choose a smaller qr_interval."
        )

    def _again(self, whole: Decomposition) -> Decomposition:
        """Decompose at every step of the window."""
        result: Decomposition | None = None
        frame = self._opening
        for step in self._steps:
            part = whole if self._length == 1 else decompose(step.push(frame), self._collected.floor(1))
            if not bool(part.finite.all()):
                trajectory = int((~part.finite).nonzero()[0])
                number = self._drive.offset + step.stretch.start + step.place + 1
                raise FloatingPointError(
                    f"the tangent frame of trajectory {trajectory} is not finite after step {number}: the map's "
                    "derivative is not finite there, or too large for the frame's type."
                )
            part = settle(part, frame, partial(jacobian_of, step.push, frame), self._refill, self._effort)
            gone = torch.isneginf(part.log_growth).all(dim=-1)
            self._drive.look_at_annihilating(self._run.map, step.stretch, step.place, gone)
            result = part if result is None else result.followed_by(part)
            frame = part.q
        assert result is not None, "a window has at least one step"
        return result
