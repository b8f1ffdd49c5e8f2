"""Criteria for the end of a search: for eigenvalues, and for further copies of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.curvature.krylov.lanczos import RitzPairs
from lyapkit.curvature.krylov.selection import Interval, Which, interval, order

LOOSEST = 1e-3
"""Largest relative residual with which a search may end. Ritz values with larger ones may still change places."""
MISS = 1e-6
"""Probability below which a copy that no run has found counts as absent."""


def residual_limits(values: Tensor, largest: float, tolerance: float, resolution: float) -> Tensor:
    """Return the largest residual with which each eigenvalue counts as converged.

    Args:
        values: Eigenvalues.
        largest: The largest magnitude of all eigenvalues.
        tolerance: Limit relative to each eigenvalue.
        resolution: Limit relative to the largest magnitude.
    """
    return torch.clamp(tolerance * values.abs(), min=resolution * largest)


@dataclass(frozen=True)
class Goal:
    """Goal of a run: the k most wanted pairs or, once k are known, further copies that belong among them.

    Attributes:
        which: The order in which eigenvalues are wanted.
        k: Number of pairs.
        tolerance: Limit of residuals, relative to the eigenvalue.
        resolution: Limit of residuals, relative to the largest eigenvalue.
        known: The eigenvalues locked so far.
        copied: The known eigenvalues that may have more copies.
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
        """True when k are known and the run asks for more copies."""
        return self.known.numel() >= self.k

    def judge(self, pairs: RitzPairs, room: int) -> tuple[Tensor, bool]:
        """Return the pairs to take, and True if the run may stop here."""
        chosen = order(pairs.values, self.which)[: self.k]
        tolerance = min(self.tolerance, LOOSEST)
        limits = residual_limits(pairs.values, self._scale(pairs), tolerance, self.resolution)
        done = pairs.residuals <= 0.9 * limits  # a little below the promised tolerance
        if not self.is_check:
            enough = chosen.numel() == min(self.k, room)
            return chosen, pairs.exhausted or (enough and bool(done[chosen].all()))
        rest = self._rest(self.known)
        chosen = chosen[rest.outside(pairs.values[chosen], limits[chosen])]
        if chosen.numel() or pairs.exhausted:
            return chosen, pairs.exhausted or bool(done[chosen].all())
        return chosen, self._nothing_left(pairs, rest, limits, room)

    def suspects(self, pairs: RitzPairs, chosen: Tensor, values: Tensor, copies: int) -> Tensor:
        """Return the eigenvalues that may have more copies than a run from this number of vectors can find.

        Args:
            pairs: Pairs of the run. Values count as copies if their residual intervals meet.
            chosen: Positions of the pairs that were taken.
            values: Eigenvalues of all runs.
            copies: Number of start vectors.
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
        """Tell if a copy of a suspect would have appeared by now, on both sides."""
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
            # probability that a random start hides such an eigenvalue for so long (Kuczynski & Wozniakowski 1992)
            missed = 1.648 * room**0.5 * math.exp(-math.sqrt(away / (away + spread)) * (2 * pairs.depth - 1))
            # or a leading vector holds less of such an eigenvector than the random start did
            enough = max(float(limits[leading]), 0.01 * float(gap) / room**0.5)
            if missed > MISS and float(pairs.residuals[leading]) > enough:
                return False
        return True
