"""Choose the number of steps between two QR decompositions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

CONDITION_LIMITS = {torch.float64: 1e4, torch.float32: 1e3}
"""Limit that an automatic interval sets to the condition number of the frame.

The lowest tracked exponents have an error of about eps times the condition number that the frame reaches, and more if
the order of the local growth rates changes often. The limits are chosen by measurement, against a decomposition at
every step. A chaotic rate network (N = 40) shows 4e-14 in float64 and 1e-6 in float32 frames. A two-layer LSTM with a
state of 16, whose single Jacobians have condition numbers up to 4e6, shows 8e-12 in float64 (1e-4 with a limit of 1e6).
In float32 frames, its lowest exponents are noise, and the leading third is good to 2e-8."""

FEW_DIRECTIONS = 3
FEW_CONDITION_LIMIT = 1e6
"""Limit for few directions in float64, whose condition number cannot be much above max |R_ii| / min |R_ii|. Measured
against a decomposition at every step, the error is 4e-14 for 50 trajectories of the Henon map, with two fifths of the
decompositions that 1e4 takes, and 1e-11 for the three leading exponents of a two-layer LSTM."""

WINDOWS = 64
"""Smallest number of windows that an automatic interval leaves, about. The standard errors are estimated from them."""


LONGEST = 256
"""Longest automatic interval. Beyond it, there is nothing left to save."""

REPLAY_BYTES = 256 * 2**20
"""Memory for the steps of one window, which are repeated if the frame fails in it."""

FORGETTING = 0.98
"""Share of an earlier, larger rate that remains from one window to the next."""


@dataclass(frozen=True)
class IntervalRule:
    """A fixed interval, or one that follows the condition number of the frame.

    Attributes:
        interval: Number of steps until the next decomposition.
        limit: Condition number to stay below; None keeps the interval fixed.
        longest: Upper bound of an automatic interval.
        rate: Expected growth of the log condition number per step; it is forgotten slowly, since growth fluctuates.
    """

    interval: int
    limit: float | None = None
    longest: int = 1
    rate: float = 0.0

    @classmethod
    def of(cls, interval: int | None, dtype: torch.dtype, k: int) -> IntervalRule:
        """Keep a given interval, or begin with 1 and stretch it as far as conditioning allows.

        Args:
            interval: Number of steps between decompositions; None for an automatic interval.
            dtype: Type of the frame.
            k: Number of directions of the frame.
        """
        if interval is not None:
            return cls(interval)
        few = k <= FEW_DIRECTIONS and dtype == torch.float64
        return cls(1, FEW_CONDITION_LIMIT if few else CONDITION_LIMITS[dtype])

    def within(self, counted: int, replayable: int) -> IntervalRule:
        """Return the rule for a run of so many counted steps; an automatic interval is at most 1/64 of them.

        Args:
            counted: Number of steps of the run without its transient.
            replayable: Number of steps of a window that can be repeated.
        """
        return replace(self, longest=max(1, min(counted // WINDOWS, replayable)))

    def after(self, steps: int, condition: float, windows: int = 1) -> IntervalRule:
        """Return the rule after some windows of the same length, with the next interval.

        The logarithm of the condition number grows about linearly in the steps; the interval at most doubles at a time.

        Args:
            steps: Length of the windows.
            condition: Largest condition number among their frames.
            windows: Number of the windows.
        """
        if self.limit is None:
            return self
        now = math.log(max(condition, 1.0)) / steps  # inf for a frame that has collapsed
        rate = now if math.isinf(now) or math.isinf(self.rate) else max(now, FORGETTING**windows * self.rate)
        reach = math.inf if rate == 0 else math.log(self.limit) / rate
        return replace(self, rate=rate, interval=int(max(1, min(reach, 2 * steps, self.longest))))


def replayable_steps(step_bytes: int) -> int:
    """Return how many steps of a window can be kept in memory, to be repeated if the window fails.

    Args:
        step_bytes: Memory that one step keeps.
    """
    return max(1, min(LONGEST, REPLAY_BYTES // max(1, step_bytes)))
