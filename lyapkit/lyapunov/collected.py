"""Collect what the windows of a run yield, and estimate the condition number of the frame in each of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.lyapunov.decomposition import Decomposition, decompose_sound, suspicion
from lyapkit.lyapunov.growth import Growth, in_order
from lyapkit.lyapunov.interval import IntervalRule
from lyapkit.lyapunov.joining import MOST_JOINED, joined
from lyapkit.tangents.tracing.confirming import TracingFailed
from lyapkit.tangents.tracing.machine.compiled_step import Windows

CERTIFIED_WINDOWS = 16
CERTIFIED_EVERY = 8
"""Condition number and volume are computed in the first 16 windows and in every 8th: each costs as much as the QR."""

SAFE_RANGE = 1e-2
"""Smallest |R_ii| before the automatic interval is shortened, in units of the fastest growth: this number over the
limit of the condition number, that is 1e-6 to 1e-8. It is well above suspect values."""

DECOMPOSITION_AGREEMENT = 1e-13
"""Difference of log |R_ii| between two decompositions, relative to the condition number, that rounding may explain."""


class Collected:
    """Results that are collected from the windows of a run.

    Condition number and volume are computed in the first windows and in some later ones. In between, the condition
    number is estimated as its lower bound, times the ratio of the two when both were last computed.

    The fastest growth per step so far tells which |R_ii| may come from rounding of the frame before the step alone. If
    a whole frame is annihilated, no comparison within the frame can show this.

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
        """Return the size below which |R_ii| over so many steps is suspect, shape (B, 1)."""
        if steps not in self._floors:
            log_floor = steps * self.fastest + self._resolution
            self._floors[steps] = log_floor.exp().clamp(max=self._largest)
        return self._floors[steps]

    def _see(self, steps: int, largest: Tensor) -> None:
        """Follow the fastest growth, given the largest log |R_ii| of windows of so many steps, shape (B, 1)."""
        rate = largest / steps
        if bool((rate > self.fastest).any()):
            self.fastest, self._floors = torch.maximum(rate, self.fastest), {}

    def _range(self, steps: int, smallest: Tensor) -> float:
        """Return a condition number that keeps |R_ii| well above the floor, if the next window is below the limit.

        The smallest log |R_ii| of windows of so many steps has the shape (B, 1).
        """
        reach = steps * self.fastest - smallest
        return math.exp(min(float(reach.max()), 700.0)) * SAFE_RANGE

    @property
    def certify_next(self) -> bool:
        """True if condition number and volume of the next window are to be computed."""
        return self.windows < CERTIFIED_WINDOWS or self.windows % CERTIFIED_EVERY == 0

    def worst_condition(self, steps: int, part: Decomposition) -> float:
        """Estimate the largest condition number of any trajectory in a window, without computing it exactly.

        The estimate is the larger of max |R_ii| / min |R_ii| and 1/k of the known or estimated 1-norm condition number.
        Both are at most the condition number in the 2-norm.
        """
        self.windows += 1
        self.bound = float(part.bound.max())
        if part.condition is not None:
            self._see(steps, part.log_growth.amax(dim=-1, keepdim=True))
            finite = torch.isfinite(part.condition)
            self.margin = torch.where(finite, part.condition / part.bound, self.margin)
        worst = float(torch.maximum(part.bound, self._condition(part) / part.q.shape[-1]).max())
        return max(worst, self._range(steps, part.log_growth.amin(dim=-1, keepdim=True))) if steps > 1 else worst

    def _condition(self, part: Decomposition) -> Tensor:
        return part.bound * self.margin if part.condition is None else part.condition

    def add(self, steps: int, part: Decomposition, counts: bool) -> None:
        """Count a window, or only follow the order of its columns."""
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
            steps: Length of each window.
            windows: Results of the windows.
            certified: Windows whose condition number and volume are computed, from their kept frames.
            counts: False in a transient, whose windows are only checked.

        Returns:
            The largest condition number of any window, estimated as by `worst_condition`.

        Raises:
            TracingFailed: If repeating a decomposition gives another result.
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
            self._see(steps, there.amax(dim=0).amax(dim=-1, keepdim=True))
            if counts:
                self.volume_error = self.volume_error + part.volume_error.view(off.shape).sum(dim=0)
                self.certified_steps += steps * len(certified)
        self.windows += len(logs)
        self.bound = float(bounds[-1].max())
        if counts:
            self._keep(steps, logs)
            self.condition = torch.maximum(self.condition, condition.amax(dim=0))
        worst = float(torch.maximum(bounds, condition / logs.shape[-1]).max())
        return max(worst, self._range(steps, logs.amin(dim=0).amin(dim=-1, keepdim=True))) if steps > 1 else worst

    def _keep(self, steps: int, logs: Tensor) -> None:
        """Keep log |R_ii| (w, B, k) of windows of the same length."""
        self._logs.append(self._at_start(logs))
        self._lengths.append(torch.full((len(logs),), steps, dtype=torch.float64, device=logs.device))
        self._counted, self._held = self._counted + len(logs), self._held + len(logs)
        if self._before is not None and self._held > 2 * MOST_JOINED:
            logs, lengths = joined(torch.cat(self._logs), torch.cat(self._lengths), self._before)
            self._logs, self._lengths, self._held = [logs], [lengths], len(logs)

    def _at_start(self, values: Tensor) -> Tensor:
        """Return columns (..., B, k) in their order at the start."""
        order = self.order.expand_as(values)
        return torch.empty_like(values).scatter(-1, order, values) if self._moved else values

    def growth(self, state: Tensor, frame: Tensor, rule: IntervalRule) -> Growth:
        """Return the growth of the whole run."""
        return Growth(
            in_order(torch.cat(self._logs), self.order),
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
