"""Bounds on the distance of computed eigenvalues from true ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lyapkit.curvature.krylov.selection import Interval


@dataclass(frozen=True)
class _Group:
    """Ritz values whose residual intervals overlap.

    Attributes:
        low: The smallest value.
        high: The largest value.
        radius: Frobenius norm of their residuals. Each value has a true eigenvalue of its own within this distance.
        size: Number of values.
    """

    low: float
    high: float
    radius: float
    size: int

    def meets(self, other: _Group) -> bool:
        return self.high + self.radius >= other.low - other.radius

    def joined(self, other: _Group) -> _Group:
        return _Group(self.low, other.high, math.hypot(self.radius, other.radius), self.size + other.size)


def error_bounds(values: np.ndarray, residuals: np.ndarray, rest: Interval | None) -> np.ndarray:
    """Return a bound on |lambda - theta| for every Ritz value theta of an orthonormal set of Ritz vectors.

    A true eigenvalue lies within the residual r of theta. If the rest of the spectrum is farther away than that, the
    bound is quadratic. For a single value it is r^2 / gap (Kato & Temple). For a group of values whose residual
    intervals meet, with residuals R, it is |R|^2 / (gap - |R|) (Kahan; Li & Li 2005). The gap is the smaller of two
    distances: to the intervals of the other groups, and to that of the eigenvalues that were not computed.

    Args:
        values: Shape (k,), in any order.
        residuals: Norms |A y - theta y|, shape (k,).
        rest: Interval that holds all other eigenvalues; None if there are none.

    Returns:
        Bounds, shape (k,). They hold if the search has missed none of the eigenvalues.
    """
    ascending = values.argsort(kind="stable")
    groups: list[_Group] = []
    for index in ascending:
        group = _Group(float(values[index]), float(values[index]), float(residuals[index]), 1)
        while groups and groups[-1].meets(group):
            group = groups.pop().joined(group)
        groups.append(group)
    bounds: list[float] = []
    for position, group in enumerate(groups):
        gap = math.inf
        if position > 0:
            gap = group.low - groups[position - 1].high - groups[position - 1].radius
        if position < len(groups) - 1:
            gap = min(gap, groups[position + 1].low - groups[position + 1].radius - group.high)
        if rest is not None:
            gap = min(gap, max(group.low - rest.high, rest.low - group.high))
        room = gap if group.size == 1 else gap - group.radius
        bounds += [min(group.radius, group.radius**2 / room) if room > 0 else group.radius] * group.size
    found = np.empty(len(values))
    found[ascending] = bounds
    return found
