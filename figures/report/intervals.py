"""Means over network instances with the interval that their spread allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

LEVEL = 0.95
"""Confidence of the intervals."""

FEWEST = 3
"""Number of instances below which nothing is decided."""


@dataclass(frozen=True)
class Unit:
    """Unit of numbers of one kind, and the way in which they are written.

    Attributes:
        write: Function that returns the text of a number.
        name: Text after the numbers, with its space where it has one.
    """

    write: Callable[[float], str]
    name: str = ""


def _signed(digits: int, scale: float = 1.0) -> Callable[[float], str]:
    return lambda value: f"{scale * value:+.{digits}f}"


def _factor(value: float) -> str:
    factor = math.exp(value) if value < 700 else math.inf
    return f"{factor:.3g}"


POINTS = Unit(_signed(1, 100), " points")
"""Differences of accuracies, as percentage points."""

PERCENT = Unit(lambda value: f"{100 * value:.1f}", " %")
RATE = Unit(lambda value: f"{value:+.2g}", " nats per step")
ITERATIONS = Unit(_signed(0), " iterations")

FACTOR = Unit(_factor)
"""Ratios, of which the values are the natural logarithms."""

NUMBER = Unit(lambda value: f"{value:.3g}")


@dataclass(frozen=True)
class Estimate:
    """A mean over instances with its interval.

    Attributes:
        mean: Mean over the instances; NaN if there is none.
        low: Lower end of the t interval; -inf with fewer than two instances.
        high: Upper end; inf with fewer than two instances.
        deviation: Standard deviation of the instances; NaN with fewer than two.
        instances: Number of instances.
    """

    mean: float
    low: float
    high: float
    deviation: float
    instances: int

    def written(self, unit: Unit) -> str:
        """Return the mean with its interval as text."""
        if not self.instances:
            return "no instance"
        count = f"{self.instances} instance{'s' * (self.instances != 1)}"
        inside = f"{self.ends(unit)}; {count}" if self.instances > 1 else count
        return f"{unit.write(self.mean)}{unit.name} ({inside})"

    def ends(self, unit: Unit) -> str:
        """Return the interval as text."""
        if self.instances < 2:
            return ""
        return f"{unit.write(self.low)} to {unit.write(self.high)}{unit.name}"

    def widened(self, by: float) -> Estimate:
        """Return the estimate with each end moved outward, by the possible error of a single measurement."""
        return Estimate(self.mean, self.low - by, self.high + by, self.deviation, self.instances)


def estimate(values: ArrayLike) -> Estimate:
    """Return the mean of some instances with its t interval of `LEVEL`.

    Args:
        values: One value for each instance; those that are NaN are left out.

    Example:
        >>> found = estimate([1.0, 2.0, 3.0])
        >>> found.mean, round(found.low, 3), round(found.high, 3)
        (2.0, -0.484, 4.484)
    """
    each = np.asarray(values, dtype=np.float64).ravel()
    each = each[~np.isnan(each)]
    count = each.size
    if count == 0:
        return Estimate(math.nan, -math.inf, math.inf, math.nan, 0)
    mean = float(each.mean())
    if count == 1 or not np.isfinite(each).all():
        return Estimate(mean, -math.inf, math.inf, math.nan, count)
    deviation = float(each.std(ddof=1))
    half = float(student.ppf((1 + LEVEL) / 2, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half, deviation, count)


def instances_needed(found: Estimate, threshold: float, most: int = 100) -> int | None:
    """Return the number of instances of the same spread that would put a threshold outside the interval.

    Args:
        found: The estimate so far.
        threshold: Threshold with which the mean is compared.
        most: Largest number of instances to ask for.

    Returns:
        The number; None if `most` are not enough, or the spread is not known.
    """
    distance = abs(found.mean - threshold)
    if math.isnan(found.deviation) or math.isnan(distance):
        return None
    for count in range(max(FEWEST, found.instances + 1), most + 1):
        if student.ppf((1 + LEVEL) / 2, count - 1) * found.deviation / math.sqrt(count) < distance:
            return count
    return None
