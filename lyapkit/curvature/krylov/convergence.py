"""When a search for eigenvalues is over, and whether there may be more copies of what it found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.curvature.krylov.lanczos import RitzPairs
from lyapkit.curvature.krylov.selection import Interval, Which, interval, order

LOOSEST = 1e-3
"""Relative residual that ends a search at the latest; Ritz values with larger ones may still change places."""
MISS = 1e-6
"""Probability at which a copy that no run has found is held to be absent."""


def residual_limits(values: Tensor, largest: float, tolerance: float, resolution: float) -> Tensor:
    """What a residual may be at most for its eigenvalue to count as converged.

    Args:
        values: Eigenvalues.
        largest: The largest magnitude of all.
        tolerance: Relative to each.
        resolution: Relative to the largest.
    """
    return torch.clamp(tolerance * values.abs(), min=resolution * largest)


@dataclass(frozen=True)
class Goal:
    """What a run looks for: the k most wanted pairs, or, once k are known, what should be among them and is not.

    Attributes:
        which: Which eigenvalues are wanted.
        k: How many.
        tolerance: On residuals, relative to the eigenvalue.
        resolution: And to the largest one.
        known: The eigenvalues locked so far.
        copied: Those of them that may have more copies.
        largest: The largest magnitude of a Ritz value so far.
    """

    which: Which
    k: int
    tolerance: float
    resolution: float
    known: Tensor
    copied: Tensor
    largest: float

    @property
    def is_check(self) -> bool:
        """Whether k are known, and the run asks for more copies."""
        return self.known.numel() >= self.k

    def judge(self, pairs: RitzPairs, room: int) -> tuple[Tensor, bool]:
        """The pairs to take, and whether the run may stop here."""
        chosen = order(pairs.values, self.which)[: self.k]
        tolerance = min(self.tolerance, LOOSEST)
        limits = residual_limits(pairs.values, self._scale(pairs), tolerance, self.resolution)
        done = pairs.residuals <= 0.9 * limits  # a little below what is promised
        if not self.is_check:
            enough = chosen.numel() == min(self.k, room)
            return chosen, pairs.exhausted or (enough and bool(done[chosen].all()))
        rest = self._rest(self.known)
        chosen = chosen[rest.outside(pairs.values[chosen], limits[chosen])]
        if chosen.numel() or pairs.exhausted:
            return chosen, pairs.exhausted or bool(done[chosen].all())
        return chosen, self._nothing_left(pairs, rest, limits, room)

    def suspects(self, pairs: RitzPairs, chosen: Tensor, values: Tensor, copies: int) -> Tensor:
        """Eigenvalues of which a run from so many vectors found as many copies, and which are not merely the last.

        Args:
            pairs: Of the run; values are copies where their residual intervals meet.
            chosen: Those of them that were taken.
            values: Those of all runs.
            copies: The number of vectors.
        """
        found, residuals, scale = pairs.values[chosen], pairs.residuals[chosen], self._scale(pairs)
        reach = residuals + residuals[:, None] + 0.1 * self.resolution * scale
        close = ((found - found[:, None]).abs() <= reach).sum(dim=1) >= copies
        if values.numel() < self.k:
            return found[close]
        limits = residual_limits(found, scale, self.tolerance, self.resolution)
        return found[close & self._rest(values).outside(found, limits)]

    def _scale(self, pairs: RitzPairs) -> float:
        return max(self.largest, float(pairs.values.abs().max()))

    def _rest(self, values: Tensor) -> Interval:
        return interval(values[order(values, self.which)[: self.k]], self.which)

    def _nothing_left(self, pairs: RitzPairs, rest: Interval, limits: Tensor, room: int) -> bool:
        """Whether a copy of a suspect would have shown by now, on each side."""
        low, high = pairs.values[0], pairs.values[-1]
        spread = float(high - low)
        sides = (
            (self.copied[self.copied > rest.high], -1, rest.high - high),
            (self.copied[self.copied < rest.low], 0, low - rest.low),
        )
        for copied, leading, gap in sides:
            if copied.numel() == 0:
                continue
            away = float((copied - pairs.values[leading]).abs().min())
            # Kuczynski & Wozniakowski (1992): how likely a random start hides an eigenvalue so far out for so long
            missed = 1.648 * room**0.5 * math.exp(-math.sqrt(away / (away + spread)) * (2 * pairs.depth - 1))
            # or a leading vector that has less of such an eigenvector in it than the random start had
            enough = max(float(limits[leading]), 0.01 * float(gap) / room**0.5)
            if missed > MISS and float(pairs.residuals[leading]) > enough:
                return False
        return True
