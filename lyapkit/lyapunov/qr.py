r"""Algorithm 1: growth of a tangent frame by repeated QR decomposition.

With :math:`V_t = J_t \cdots J_1` (eq. 3 of Dubinin & Effenberger 2024) and the frame :math:`Q_0`,

.. math:: J_t Q_{t-1} = Q_t R_t, \qquad \lambda_i = \lim_{T \to \infty} \frac{1}{T} \sum_t \log |(R_t)_{ii}|.

This is the discrete QR method of Benettin et al. (1980), as in Sandri (1996) and appendix A of the paper. The frame
may be decomposed every q steps only: :math:`J_{t+q-1} \cdots J_t Q = Q' R`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import (
    Decomposition,
    Refill,
    behind,
    decompose,
    decompose_sound,
    settle,
    sound_limits,
    suspicion,
)
from lyapkit.lyapunov.interval import IntervalRule, replayable_steps
from lyapkit.lyapunov.joining import MOST_JOINED, joined
from lyapkit.lyapunov.one_step import Effort
from lyapkit.lyapunov.steadiness import Repetition
from lyapkit.tangents.along import TangentRun
from lyapkit.tangents.strategy import Carry, jacobian_of
from lyapkit.tangents.tracing.compiled import CompiledTangents
from lyapkit.tangents.tracing.confirming import TracingFailed
from lyapkit.tangents.tracing.machine.compiled_step import Windows
from lyapkit.trajectories.drive import Drive, Stretch

CERTIFIED_WINDOWS = 16
CERTIFIED_EVERY = 8
"""Condition number and volume are computed in the first 16 windows and in every 8th: each costs as much as the QR."""

SAFE_RANGE = 1e-2
"""|R_ii| may fall to this over the limit of the condition number, in units of the fastest growth, before the automatic
interval is shortened: 1e-6 to 1e-8, well above what is suspect."""


@dataclass(frozen=True)
class Growth:
    """Growth that Algorithm 1 collects: W windows of one or more steps, B trajectories, k directions.

    Attributes:
        log_growth: Logarithms log |R_ii| of each window, shape (W, B, k); -inf where the direction is annihilated.
        window: Steps in each window, shape (W,).
        log_volume_residual: |sum of log |R_ii| - log volume| per step, shape (B,), the volume computed
            without QR (log |det| for a full frame, the singular values otherwise), over the windows certified.
        condition: The largest condition number that the frame reached before a decomposition, shape (B,); inf where
            a direction was annihilated.
        state: The final state, shape (B, N).
        frame: The final frame, shape (B, N, k).
        unresolved: Directions of which float64 could not tell at some step how much is left of them, shape (B, k).
        order: Column of the frame at the start that each column continues, shape (B, k). It differs from 0, 1, ...
            where directions were annihilated, which then come last.
        decompositions: Windows before any were joined.
        rule: The rule of the interval as the last window has left it; None where the growth was read from a result.
    """

    log_growth: Tensor
    window: Tensor
    log_volume_residual: Tensor
    condition: Tensor
    state: Tensor
    frame: Tensor
    unresolved: Tensor
    order: Tensor
    decompositions: int
    rule: IntervalRule | None = None

    @property
    def steps(self) -> int:
        """Counted steps."""
        return int(self.window.sum())

    def joined(self) -> Growth:
        """Join neighbouring windows of a long run: see `lyapkit.lyapunov.joining.joined`."""
        log_growth, window = joined(self.log_growth, self.window)
        return replace(self, log_growth=log_growth, window=window)

    def followed_by(self, later: Growth) -> Growth:
        """Join both; ``later`` has started from this one's state and frame."""
        steps = self.steps + later.steps
        residual = (self.log_volume_residual * self.steps + later.log_volume_residual * later.steps) / steps
        return Growth(
            torch.cat((_gather(self.log_growth, later.order), later.log_growth)),
            torch.cat((self.window, later.window)),
            residual,
            torch.maximum(self.condition, later.condition),
            later.state,
            later.frame,
            _gather(self.unresolved, later.order) | later.unresolved,
            self.order.gather(-1, later.order),
            self.decompositions + later.decompositions,
            later.rule,
        )


def _gather(values: Tensor, order: Tensor) -> Tensor:
    """Take columns (..., B, k) in another order (B, k)."""
    return values.gather(-1, order.expand_as(values))


def initial_frame(batch: int, size: int, k: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Return the identity when k = N (Algorithm 1), else a random orthonormal frame; shape (B, N, k).

    It is the same one for all trajectories, so that none depends on which others are beside it.
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

    A window in which the frame overflows, underflows or may have lost a direction is done again with a decomposition
    at every step, and each step decides what it annihilates (`lyapkit.lyapunov.decomposition.settle`). A direction that
    is annihilated has log growth -inf at that step. It starts again at random, behind all others.

    Args:
        run: The trajectory; its transient steps settle state and frame.
        frame: Orthonormal frame to start from, shape (B, N, k); its dtype is that of the QR.
        interval: Steps between decompositions, q; None for an automatic interval.
        refill: Generator of the directions that replace annihilated ones.
        drive: The part of the trajectory to go along; all of it by default.
        earlier: The growth before this part, whose interval goes on.
        effort: Effort left for single steps, where this continues a run; that of a new run by default.
        join: Join windows on the way, so that the growth takes fixed memory; see `Growth.joined`.
        on_steps: Called with the number of steps done since the last call (progress).

    Returns:
        The growth in this part.

    Raises:
        FloatingPointError: If state or frame are not finite, or a window too long to be kept lost a direction; the
            message names step and trajectory.
    """
    drive = run.drive if drive is None else drive
    rule = IntervalRule.of(interval, frame.dtype, frame.shape[-1])
    if earlier is not None and earlier.rule is not None:
        rule = earlier.rule
    before = 0 if earlier is None else earlier.steps
    counted = before + int(drive.last_steps.min()) - drive.transient
    collected = _Collected(frame, before if join else None)
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


DECOMPOSITION_AGREEMENT = 1e-13
"""Difference of log |R_ii| between two decompositions, relative to the condition number, that rounding may explain."""

FAR_ABOVE = 10
"""Many windows in one call end where the condition number exceeds its limit so many times."""

MOST_WINDOWS = 2**16
"""Windows that are gone through in one call, at most."""


class _Step(NamedTuple):
    """A step of a window: the stretch that it is in, what carries frames over it, and its place in the stretch."""

    stretch: Stretch
    carry: Carry
    place: int

    def push(self, frame: Tensor) -> Tensor:
        return self.carry(frame, self.place, self.place + 1)


class _Windows:
    """The frame, and the steps since it was decomposed last.

    Args:
        run: The trajectory.
        drive: The part of it that is gone along.
        frame: The frame at its start, shape (B, N, k).
        collected: Collects their results.
        rule: Says when to decompose.
        counted: Steps of the whole run that count, in its shortest sequence.
        refill: Generator of the directions that replace annihilated ones.
        effort: Effort left for single steps.
    """

    def __init__(
        self,
        run: TangentRun,
        drive: Drive,
        frame: Tensor,
        collected: _Collected,
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
        """Steps until the window ends; the transient ends one, too."""
        left = self._rule.interval - self._length
        return min(left, self._drive.transient - self._done) if self._done < self._drive.transient else left

    def go(self, stretch: Stretch, carry: Carry, first: int, last: int) -> None:
        """Carry the frame over steps of a stretch, to the end of the window at most."""
        if self._repetition is None and self._done == self._drive.transient:
            self._repetition = Repetition(self._frame, self._collected.order)
            if self._drive.transient:
                self._effort.renew()  # whatever the transient took
        self._frame = carry(self._frame, first, last)
        self._length, self._done = self._length + last - first, self._done + last - first
        if self._length <= self._replayable:
            self._steps += [_Step(stretch, carry, place) for place in range(first, last)]
        if self._length >= self._rule.interval or self._done in (self._drive.steps, self._drive.transient):
            self._let_resting_wake()
            self.end(self._decomposed())

    def go_far(self, stretch: Stretch, first: int) -> int:
        """Go through many windows of a stretch in one call, as long as nothing is wrong with them.

        The first windows, which are looked at more closely, and any that is suspect are left to `go`. The interval
        stays what it is for all of them, and follows the worst.

        Args:
            stretch: The stretch.
            first: The step of the stretch to begin with.

        Returns:
            Number of steps done, 0 if this is not the time for it.

        Raises:
            TracingFailed: If a decomposition turns out to be another one when it is done again.
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
        """Return what all windows have yielded."""
        if self._repetition is not None:
            self._collected.unresolved = self._collected.unresolved | self._repetition.differs()
        return self._collected.growth(state, self._frame, self._rule)

    def _let_resting_wake(self) -> None:
        """Bring resting columns that grow again behind the others."""
        order = None if self._resting is None else behind(self._frame, self._resting)
        if order is not None:
            self._frame, self._opening = (_gather(one, order.unsqueeze(-2)) for one in (self._frame, self._opening))
            self._collected.move(order)
            if self._repetition is not None:
                self._repetition.move(order)

    def _decomposed(self) -> Decomposition:
        collected, length = self._collected, self._length
        if math.isfinite(collected.bound) or not collected.windows:  # else as in the last window, most likely
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


class _Collected:
    """Collected results of the windows of a run.

    Condition number and volume are computed in the first windows and in some of the later ones. In between, the
    condition is estimated by its lower bound times the factor by which it exceeded it when it was computed last.

    The fastest growth per step that was seen tells which |R_ii| are so small that the rounding of the frame before
    the step may have made them, which no comparison within the frame shows when all of it was annihilated.

    Args:
        frame: The frame at the start, shape (B, N, k).
        before: Counted steps before, if windows are to be joined; None keeps all of them.

    Attributes:
        order: Column of the frame at the start that each column continues, shape (B, k).
    """

    def __init__(self, frame: Tensor, before: int | None) -> None:
        self._before = before
        self.windows = self._counted = self._held = 0
        batch, size, k = frame.shape
        limits = torch.finfo(frame.dtype)
        self.order = torch.arange(k, device=frame.device).repeat(batch, 1)
        self._moved = False
        self.unresolved = torch.zeros_like(self.order, dtype=torch.bool)
        self.fastest = torch.full((batch, 1), -math.inf, dtype=torch.float64, device=frame.device)
        self._resolution = math.log(suspicion(frame.dtype, size))
        self._largest = limits.max
        self._floors: dict[int, Tensor] = {}
        self.margin = torch.ones(frame.shape[0], dtype=torch.float64, device=frame.device)
        self.condition = self.margin
        self.bound = math.inf  # of the last window
        self._lengths: list[Tensor] = []
        self._logs: list[Tensor] = []
        self.volume_error = torch.zeros_like(self.margin)
        self.certified_steps = 0

    def floor(self, steps: int) -> Tensor:
        """Return the size that |R_ii| over so many steps must exceed in order not to be suspect, shape (B, 1)."""
        if steps not in self._floors:
            log_floor = steps * self.fastest + self._resolution
            self._floors[steps] = log_floor.exp().clamp(max=self._largest)
        return self._floors[steps]

    def _see(self, steps: int, part: Decomposition) -> None:
        rate = part.log_growth.amax(dim=-1, keepdim=True) / steps
        if bool((rate > self.fastest).any()):
            self.fastest, self._floors = torch.maximum(rate, self.fastest), {}

    def _range(self, steps: int, part: Decomposition) -> float:
        """Return a condition number that keeps |R_ii| well above the floor, if the next window is below the limit."""
        reach = steps * self.fastest - part.log_growth.amin(dim=-1, keepdim=True)
        return math.exp(min(float(reach.max()), 700.0)) * SAFE_RANGE

    @property
    def certify_next(self) -> bool:
        return self.windows < CERTIFIED_WINDOWS or self.windows % CERTIFIED_EVERY == 0

    def worst_condition(self, steps: int, part: Decomposition) -> float:
        """Estimate the largest condition number of any trajectory in a window, without computing it exactly.

        That is max |R_ii| / min |R_ii|, or 1/k of the known or estimated 1-norm condition number where this is more:
        both are at most the condition number in the 2-norm.
        """
        self.windows += 1
        self.bound = float(part.bound.max())
        if part.condition is not None:
            self._see(steps, part)
            finite = torch.isfinite(part.condition)
            self.margin = torch.where(finite, part.condition / part.bound, self.margin)
        worst = float(torch.maximum(part.bound, self._condition(part) / part.q.shape[-1]).max())
        return max(worst, self._range(steps, part)) if steps > 1 else worst

    def _condition(self, part: Decomposition) -> Tensor:
        return part.bound * self.margin if part.condition is None else part.condition

    def add(self, steps: int, part: Decomposition, counts: bool) -> None:
        """Count a window, or only follow where columns go."""
        if counts:
            self._count(steps, part)
        if part.order is not None:
            self.move(part.order)

    def move(self, order: Tensor) -> None:
        """Bring columns into another order, (B, k)."""
        self.order, self._moved = self.order.gather(-1, order), True

    def _count(self, steps: int, part: Decomposition) -> None:
        self._keep(steps, part.log_growth.unsqueeze(0))
        if part.unresolved is not None:
            self.unresolved = self.unresolved | self._at_start(part.unresolved)
        self.condition = torch.maximum(self.condition, self._condition(part))
        if part.volume_error is not None:
            self.volume_error = self.volume_error + part.volume_error
            self.certified_steps += steps

    def add_many(self, steps: int, windows: Windows, certified: range, counts: bool) -> float:
        """Count many sound windows.

        Args:
            steps: Length of each of them.
            windows: What they have yielded.
            certified: Those whose condition number and volume are computed, from the frames kept of them.
            counts: False to only look at them, in a transient.

        Returns:
            The largest condition number of any of them, as `worst_condition` does.

        Raises:
            TracingFailed: If a decomposition is another one when it is done again.
        """
        logs, bounds = windows.lengths.log(), 1 / windows.shares  # (W, B, k), (W, B)
        condition = bounds * self.margin
        if len(certified):
            part = decompose_sound(windows.before.flatten(0, 1), True)
            if part is None or part.condition is None or part.volume_error is None:
                raise TracingFailed("a frame that was sound in machine code is not")
            there = logs[certified.start :: certified.step]
            off = (part.log_growth.view_as(there) - there).abs().amax(dim=-1)  # (C, B)
            if bool((off > DECOMPOSITION_AGREEMENT * bounds[certified.start :: certified.step]).any()):
                raise TracingFailed("the decompositions in machine code are others")
            conditions = part.condition.view(off.shape)
            condition[certified.start :: certified.step] = conditions
            self.margin = conditions[-1] / bounds[certified.start :: certified.step][-1]
            rate = there.amax(dim=0).amax(dim=-1, keepdim=True) / steps
            if bool((rate > self.fastest).any()):
                self.fastest, self._floors = torch.maximum(rate, self.fastest), {}
            if counts:
                self.volume_error = self.volume_error + part.volume_error.view(off.shape).sum(dim=0)
                self.certified_steps += steps * len(certified)
        self.windows += len(logs)
        self.bound = float(bounds[-1].max())
        if counts:
            self._keep(steps, logs)
            self.condition = torch.maximum(self.condition, condition.amax(dim=0))
        worst = float(torch.maximum(bounds, condition / logs.shape[-1]).max())
        reach = float((steps * self.fastest - logs.amin(dim=0).amin(dim=-1, keepdim=True)).max())
        return max(worst, math.exp(min(reach, 700.0)) * SAFE_RANGE) if steps > 1 else worst

    def _keep(self, steps: int, logs: Tensor) -> None:
        """Keep log |R_ii| (w, B, k) of windows of the same length."""
        self._logs.append(self._at_start(logs))
        self._lengths.append(torch.full((len(logs),), steps, dtype=torch.float64, device=logs.device))
        self._counted, self._held = self._counted + len(logs), self._held + len(logs)
        if self._before is not None and self._held > 2 * MOST_JOINED:
            logs, lengths = joined(torch.cat(self._logs), torch.cat(self._lengths), self._before)
            self._logs, self._lengths, self._held = [logs], [lengths], len(logs)

    def _at_start(self, values: Tensor) -> Tensor:
        """Return columns (..., B, k) in the order that they had at the start."""
        order = self.order.expand_as(values)
        return torch.empty_like(values).scatter(-1, order, values) if self._moved else values

    def growth(self, state: Tensor, frame: Tensor, rule: IntervalRule) -> Growth:
        """Return all of it."""
        return Growth(
            _gather(torch.cat(self._logs), self.order),
            torch.cat(self._lengths),
            self.volume_error.abs() / max(1, self.certified_steps),
            self.condition,
            state,
            frame,
            self.unresolved.gather(-1, self.order),
            self.order,
            self._counted,
            rule,
        )
