"""The choice of eigenvalues of a symmetric operator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Which = Literal["LM", "LA", "SA", "BE"]
WHICH = ("LM", "LA", "SA", "BE")


@dataclass(frozen=True)
class Interval:
    """Interval of unwanted values; those outside are wanted.

    Attributes:
        low: Values below are wanted; -inf if there are none.
        high: Values above are wanted; inf if there are none.
    """

    low: float
    high: float

    def outside(self, values: Tensor, margin: Tensor) -> Tensor:
        """Tell which values are wanted by more than a margin."""
        return (values > self.high + margin) | (values < self.low - margin)


def order(values: Tensor, which: Which) -> Tensor:
    """Return the positions of the values, the most wanted first.

    Args:
        values: Shape (n,).
        which: One of "LM" largest magnitude, "LA" largest, "SA" smallest, "BE" both ends in turn, the largest first.
    """
    if which == "LM":
        return values.abs().argsort(descending=True, stable=True)
    ascending = values.argsort(stable=True)
    if which == "SA":
        return ascending
    if which == "LA":
        return ascending.flip(0)
    turns = torch.stack((ascending.flip(0), ascending), dim=1).reshape(-1)
    return turns[: values.numel()]


def interval(wanted: Tensor, which: Which) -> Interval:
    """Return the interval that contains the eigenvalues that were left out.

    Args:
        wanted: The values that were taken, the most wanted first.
        which: See `order`.
    """
    if which == "LM":
        least = float(wanted.abs().min())
        return Interval(-least, least)
    if which == "LA":
        return Interval(-math.inf, float(wanted.min()))
    if which == "SA":
        return Interval(float(wanted.max()), math.inf)
    high, low = wanted[0::2], wanted[1::2]
    return Interval(float(low.max()) if low.numel() else -math.inf, float(high.min()))
