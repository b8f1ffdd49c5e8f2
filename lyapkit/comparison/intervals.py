"""Estimates with 95 % intervals, from several trajectories or along a single one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from scipy.special import stdtrit
from torch import Tensor

from lyapkit.lyapunov.uncertainty import TAIL, MeanGrowth

MOST_GROUPS = 32
"""Groups of trajectories, at most, that the jackknife leaves out one after the other. No source: with 31 degrees of
freedom the interval is 4 % wider than with infinitely many."""

BLOCKS = 64
"""Consecutive blocks of a single trajectory that the jackknife leaves out one after the other: 9 degrees of freedom."""


@dataclass(frozen=True)
class Estimate:
    """A value with standard error and 95 % interval, all of the same shape.

    Attributes:
        value: The value.
        error: Its standard error; inf where there is too little data to know it, NaN where the value is not finite.
        low: Lower end of the interval; -inf with an infinite error.
        high: Upper end.
    """

    value: Tensor
    error: Tensor
    low: Tensor
    high: Tensor

    def within(self, low: float, high: float) -> Estimate:
        """Return the estimate of a quantity that can only lie between two values."""
        return replace(self, low=self.low.clamp(low, high), high=self.high.clamp(low, high))

    def where(self, holds: Tensor) -> Estimate:
        """Return the estimate with NaN where the quantity does not exist."""
        parts = (self.value, self.error, self.low, self.high)
        return Estimate(*(part.masked_fill(~holds, math.nan) for part in parts))


def over_trajectories(values: Tensor) -> Estimate:
    """Return the mean over independent trajectories, with the interval of Student's t.

    Args:
        values: One value for each of B >= 2 trajectories, shape (B, ...).
    """
    count = len(values)
    mean = values.mean(dim=0)
    error = ((values - mean).square().sum(dim=0) / (count * (count - 1))).sqrt()
    return _estimate(mean, error, count - 1)


def over_time(values: Tensor, steps: Tensor) -> Estimate:
    """Return the mean over a single trajectory, with an error that respects autocorrelation.

    Args:
        values: Means over consecutive parts of the trajectory, shape (W, ...).
        steps: Steps of each part, shape (W,).
    """
    sums = values * steps.reshape(-1, *(1,) * (values.ndim - 1))
    means = MeanGrowth.of(sums, steps)
    return _estimate(means.mean, means.errors().standard, means.degrees_of_freedom)


def jackknife(statistic: Callable[[Tensor], Tensor], group: Tensor, independent: bool) -> tuple[Estimate, Tensor]:
    r"""Estimate error and bias of a statistic of all states, by leaving out one group of them after the other.

    With n states, of which m_j are in group j of g, :math:`h_j = n / m_j`, and the statistic without this group
    :math:`\theta_{(j)}`, the pseudo-values are :math:`p_j = h_j \theta - (h_j - 1) \theta_{(j)}`. Their mean
    with weights 1/h_j corrects the bias of order 1/n, and its variance is
    :math:`\frac{1}{g} \sum_j (p_j - \bar p)^2 / (h_j - 1)` (the delete-m_j jackknife of Busing, Meijer & van der
    Leeden, Statistics and Computing 9, 3, 1999). If groups follow each other in time, the pseudo-values are taken as a
    series, whose autocorrelation counts.

    Args:
        statistic: From a mask of states, shape (S,), to a number.
        group: Number of the group of each state, from 0, shape (S,); every group has states.
        independent: The groups are of different trajectories; otherwise they are consecutive blocks of a single one.

    Returns:
        The statistic of all states with error and interval, and its bias. The interval is around the value without the
        bias.
    """
    whole = statistic(torch.ones_like(group, dtype=torch.bool))
    size = torch.bincount(group).to(whole)
    if len(size) < 2:
        unknown = torch.full_like(whole, math.inf)
        return Estimate(whole, unknown, -unknown, unknown), torch.full_like(whole, math.nan)
    without = torch.stack([statistic(group != each) for each in range(len(size))])
    factor = size.sum() / size
    pseudo = whole + (factor - 1) * (whole - without)
    corrected = (pseudo / factor).sum()
    if independent:
        error = ((pseudo - corrected).square() / (factor - 1)).mean().sqrt()
        around = _estimate(corrected, error, len(size) - 1)
    else:
        around = over_time(pseudo, size)
    return replace(around, value=whole), whole - corrected


def groups(active: Tensor) -> tuple[Tensor, bool]:
    """Divide states into groups for the jackknife.

    Args:
        active: Steps that count, shape (T, B).

    Returns:
        The group of each of the S states that count, in the order of ``x[active]``, and whether the groups are
        independent of each other: trajectories, or groups of them where there are more than `MOST_GROUPS`.
    """
    steps, batch = active.shape
    if batch > 1:
        count = min(batch, MOST_GROUPS)
        of_trajectory = torch.arange(batch, device=active.device) * count // batch
        return of_trajectory.expand(steps, -1)[active], True
    number = int(active.sum())
    count = min(number, BLOCKS)
    return torch.arange(number, device=active.device) * count // number, False


def _estimate(value: Tensor, error: Tensor, freedom: int) -> Estimate:
    error = error.masked_fill(~torch.isfinite(value), math.nan)
    room = error * float(-stdtrit(freedom, TAIL)) if freedom else error
    return Estimate(value, error, value - room, value + room)
