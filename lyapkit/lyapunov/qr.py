"""Algorithm 1: growth of a tangent frame by repeated QR decomposition.

With V_t = J_t ... J_1 (eq. 3 of Dubinin & Effenberger 2024) and the frame Q_0,

    J_t Q_{t-1} = Q_t R_t,        lambda_i = lim 1/T sum_t log |(R_t)_ii|,

the discrete QR method of Benettin et al. (1980), as in Sandri (1996) and the paper's appendix A. The
decomposition may be done every q steps, J_{t+q-1} ... J_t Q = Q' R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lyapkit.drive import Drive, Stretch
from lyapkit.lyapunov.carrying import Carry, carried_stretches, jacobian_of, step_bytes
from lyapkit.lyapunov.decomposition import Decomposition, Refill, behind, decompose, decompose_sound, settle, suspicion
from lyapkit.lyapunov.interval import IntervalRule, replayable_steps
from lyapkit.lyapunov.one_step import Effort
from lyapkit.lyapunov.steadiness import Repetition
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.tangents import TangentStrategy

CERTIFIED_WINDOWS = 16
CERTIFIED_EVERY = 8
"""Condition number and volume are computed in the first 16 windows and in every 8th: each costs as much as the QR."""

SAFE_RANGE = 1e-2
"""|R_ii| may fall to this over the limit of the condition number, in units of the fastest growth, before the automatic
interval is shortened: 1e-6 to 1e-8, well above what is suspect."""

Push = tuple[Carry, int, Stretch]
"""A step of a window: what carries frames over its stretch, which step of the stretch it is, and the stretch."""


@dataclass(frozen=True)
class Growth:
    """What Algorithm 1 collects; W windows of one or more steps, B trajectories, k directions.

    Attributes:
        log_growth: log |R_ii| of each window, shape (W, B, k); -inf where the direction is annihilated.
        window: steps in each window, shape (W,).
        log_volume_residual: |sum of log |R_ii| - log volume| per step, shape (B,), the volume computed
            without QR (log |det| for a full frame, the singular values otherwise), over the windows certified.
        condition: the largest condition number that the frame reached before a decomposition, shape (B,); inf where
            a direction was annihilated.
        state: the final state, shape (B, N).
        frame: the final frame, shape (B, N, k).
        unresolved: Directions of which float64 could not tell at some step how much is left of them, shape (B, k).
        order: Column of the frame at the start that each column continues, shape (B, k). It differs from 0, 1, ...
            where directions were annihilated, which then come last.
    """

    log_growth: Tensor
    window: Tensor
    log_volume_residual: Tensor
    condition: Tensor
    state: Tensor
    frame: Tensor
    unresolved: Tensor
    order: Tensor

    @property
    def steps(self) -> int:
        """Counted steps."""
        return int(self.window.sum())

    def followed_by(self, later: Growth) -> Growth:
        """Both together; ``later`` has started from this one's state and frame."""
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
        )


def _gather(values: Tensor, order: Tensor) -> Tensor:
    """Columns (..., B, k) in another order (B, k)."""
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
    map: RecurrentMap,
    drive: Drive,
    frame: Tensor,
    *,
    tangents: TangentStrategy,
    rule: IntervalRule,
    refill: Refill,
    effort: Effort | None = None,
    on_steps: Callable[[int], object] = lambda steps: None,
) -> Growth:
    """Run Algorithm 1.

    A window in which the frame overflows, underflows or may have lost a direction is done again with a decomposition
    at every step, and each step decides what it annihilates (`lyapkit.lyapunov.decomposition.settle`). A direction that
    is annihilated has log growth -inf at that step. It starts again at random, behind all others.

    Args:
        map: the map.
        drive: initial states and inputs; its transient steps settle state and frame.
        frame: orthonormal frame to start from, shape (B, N, k); its dtype is that of the QR.
        tangents: how tangents are carried.
        rule: steps between decompositions, q.
        refill: Where directions come from that replace annihilated ones.
        effort: What may be spent on single steps, where this continues a run; that of a new run by default.
        on_steps: called with the number of steps done since the last call (progress).

    Raises:
        FloatingPointError: state or frame are not finite, or a window too long to be kept lost a direction; the message
            names step and trajectory.
    """
    replayable = replayable_steps(step_bytes(tangents, frame))
    collected = _Collected(frame)
    opening, pushes = frame, list[Push]()
    resting: Tensor | None = None
    counted = done = 0
    state = drive.state
    repetition: Repetition | None = None
    effort = effort or Effort()
    for stretch, carry in carried_stretches(map, drive, tangents, frame.shape[-1], frame.dtype):
        state = stretch.after
        last = stretch.start + stretch.states.shape[0]
        while done < last:
            steps = min(last - done, rule.interval - counted)
            if done < drive.transient:
                steps = min(steps, drive.transient - done)
            begin = done - stretch.start
            if repetition is None and done == drive.transient:
                repetition = Repetition(frame, collected.order)
                if drive.transient:
                    effort.renew()  # whatever the transient took
            frame = carry(frame, begin, begin + steps)
            if counted + steps <= replayable:
                pushes += [(carry, index, stretch) for index in range(begin, begin + steps)]
            counted, done = counted + steps, done + steps
            on_steps(steps)
            if counted >= rule.interval or done in (drive.steps, drive.transient):
                order = None if resting is None else behind(frame, resting)
                if order is not None:
                    frame, opening = _gather(frame, order.unsqueeze(-2)), _gather(opening, order.unsqueeze(-2))
                    collected.move(order)
                    if repetition is not None:
                        repetition.move(order)
                part = None
                if math.isfinite(collected.bound) or not collected.windows:  # else as in the last window, most likely
                    part = decompose_sound(frame, collected.certify_next, collected.bound, collected.floor(counted))
                if part is None:
                    part = _again(map, drive, frame, opening, pushes, (counted, done), collected, refill, effort)
                rule.update(counted, collected.worst_condition(counted, part))
                collected.add(counted, part, done > drive.transient)
                if repetition is not None:
                    repetition.follow([partial(_pushed, *push[:2]) for push in pushes], part)
                opening = frame = part.q
                resting = part.resting
                pushes, counted = [], 0
    if repetition is not None:
        collected.unresolved = collected.unresolved | repetition.differs()
    return collected.growth(state, frame)


def _pushed(carry: Carry, step: int, frame: Tensor) -> Tensor:
    return carry(frame, step, step + 1)


class _Collected:
    """What the windows of a run yield.

    Condition number and volume are computed in the first windows and in some of the later ones. In between, the
    condition is estimated by its lower bound times the factor by which it exceeded it when it was computed last.

    The fastest growth per step that was seen tells which |R_ii| are so small that the rounding of the frame before
    the step may have made them, which no comparison within the frame shows when all of it was annihilated.

    Attributes:
        order: Column of the frame at the start that each column continues, shape (B, k).
    """

    def __init__(self, frame: Tensor) -> None:
        self.windows = 0
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
        self.lengths: list[int] = []
        self.logs: list[Tensor] = []
        self.volume_error = torch.zeros_like(self.margin)
        self.certified_steps = 0

    def floor(self, steps: int) -> Tensor:
        """What |R_ii| over so many steps has to exceed in order not to be suspect, shape (B, 1)."""
        if steps not in self._floors:
            log_floor = steps * self.fastest + self._resolution
            self._floors[steps] = log_floor.exp().clamp(max=self._largest)
        return self._floors[steps]

    def _see(self, steps: int, part: Decomposition) -> None:
        rate = part.log_growth.amax(dim=-1, keepdim=True) / steps
        if bool((rate > self.fastest).any()):
            self.fastest, self._floors = torch.maximum(rate, self.fastest), {}

    def _range(self, steps: int, part: Decomposition) -> float:
        """A condition number that keeps |R_ii| well above the floor, if the next window is to stay below the limit."""
        reach = steps * self.fastest - part.log_growth.amin(dim=-1, keepdim=True)
        return math.exp(min(float(reach.max()), 700.0)) * SAFE_RANGE

    @property
    def certify_next(self) -> bool:
        return self.windows < CERTIFIED_WINDOWS or self.windows % CERTIFIED_EVERY == 0

    def worst_condition(self, steps: int, part: Decomposition) -> float:
        """The largest condition number of any trajectory in a window, as far as it can be told without computing it.

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
        self.lengths.append(steps)
        self.logs.append(self._at_start(part.log_growth))
        if part.unresolved is not None:
            self.unresolved = self.unresolved | self._at_start(part.unresolved)
        self.condition = torch.maximum(self.condition, self._condition(part))
        if part.volume_error is not None:
            self.volume_error = self.volume_error + part.volume_error
            self.certified_steps += steps

    def _at_start(self, values: Tensor) -> Tensor:
        """Columns (B, k) where they were at the start."""
        return torch.empty_like(values).scatter(-1, self.order, values) if self._moved else values

    def growth(self, state: Tensor, frame: Tensor) -> Growth:
        """All of it."""
        return Growth(
            _gather(torch.stack(self.logs), self.order),
            torch.tensor(self.lengths, dtype=torch.float64, device=frame.device),
            self.volume_error.abs() / max(1, self.certified_steps),
            self.condition,
            state,
            frame,
            self.unresolved.gather(-1, self.order),
            self.order,
        )


def _again(
    map: RecurrentMap,
    drive: Drive,
    failed: Tensor,
    frame: Tensor,
    pushes: Sequence[Push],
    at: tuple[int, int],
    collected: _Collected,
    refill: Refill,
    effort: Effort,
) -> Decomposition:
    """A window of ``at[0]`` steps up to ``at[1]``, decomposed at every step, unless nothing is wrong with it."""
    counted, step = at[0], drive.offset + at[1]
    whole = decompose(failed, collected.floor(counted))
    if bool(whole.finite.all()) and not bool(whole.suspect.any() | (whole.lost.any() & (counted > 1))):
        return whole
    if counted > len(pushes):
        if not bool(whole.lost.any()):
            return whole
        trajectory = int(whole.lost.nonzero()[0])
        raise FloatingPointError(
            f"the tangent frame of trajectory {trajectory} overflowed, underflowed or lost a direction to rounding in "
            f"the {counted} steps before step {step}; choose a smaller qr_interval."
        )
    result: Decomposition | None = None
    for index, (carry, place, stretch) in enumerate(pushes):
        part = whole if counted == 1 else decompose(carry(frame, place, place + 1), collected.floor(1))
        if not bool(part.finite.all()):
            trajectory = int((~part.finite).nonzero()[0])
            raise FloatingPointError(
                f"the tangent frame of trajectory {trajectory} is not finite after step {step - counted + index + 1}: "
                "the map's derivative is not finite there, or too large for the frame's type."
            )
        part = settle(part, frame, partial(jacobian_of, carry, frame, place), refill, effort)
        gone = torch.isneginf(part.log_growth).all(dim=-1)
        if drive.kinks is not None and bool(gone.any()):
            input = None if stretch.inputs is None else stretch.inputs[place]
            number = drive.offset + stretch.start + place
            drive.kinks.see_annihilating(map, number, stretch.states[place], input, gone)
        result = part if result is None else result.followed_by(part)
        frame = part.q
    assert result is not None, "a window has at least one step"
    return result
