"""Growth of the directions of a tangent frame, window by window, as Algorithm 1 yields it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lyapkit.lyapunov.interval import IntervalRule
from lyapkit.lyapunov.joining import joined


def in_order(values: Tensor, order: Tensor) -> Tensor:
    """Take columns (..., B, k) in another order (B, k)."""
    return values.gather(-1, order.expand_as(values))


@dataclass(frozen=True)
class Growth:
    """Growth that Algorithm 1 collects: W windows of one or more steps, B trajectories, k directions.

    Attributes:
        log_growth: Logarithms log |R_ii| of each window, shape (W, B, k); -inf if the direction is annihilated.
        window: Number of steps in each window, shape (W,).
        log_volume_residual: Difference |sum of log |R_ii| - log volume| per step over the certified windows, shape
            (B,). The volume is computed without QR (log |det| for a full frame, singular values otherwise).
        condition: Largest condition number of the frame before a decomposition, shape (B,); inf if a direction was
            annihilated.
        state: Final state, shape (B, N).
        frame: Final frame, shape (B, N, k).
        unresolved: True for directions if float64 could not tell at some step how much is left of them, shape (B, k).
        order: Column of the frame at the start that each column continues, shape (B, k). It differs from 0, 1, ... if
            directions were annihilated, which then come last.
        decompositions: Number of windows before any were joined.
        rule: Rule of the interval after the last window; None if the growth was read from a result.
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
        """Number of counted steps."""
        return int(self.window.sum())

    def joined(self) -> Growth:
        """Join neighbouring windows of a long run: see `lyapkit.lyapunov.joining.joined`."""
        log_growth, window = joined(self.log_growth, self.window)
        return replace(self, log_growth=log_growth, window=window)

    def followed_by(self, later: Growth) -> Growth:
        """Join this growth and a later one that started from its state and frame."""
        steps = self.steps + later.steps
        residual = (self.log_volume_residual * self.steps + later.log_volume_residual * later.steps) / steps
        return Growth(
            torch.cat((in_order(self.log_growth, later.order), later.log_growth)),
            torch.cat((self.window, later.window)),
            residual,
            torch.maximum(self.condition, later.condition),
            later.state,
            later.frame,
            in_order(self.unresolved, later.order) | later.unresolved,
            self.order.gather(-1, later.order),
            self.decompositions + later.decompositions,
            later.rule,
        )
