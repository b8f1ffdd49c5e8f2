"""Which eigenvalues of a symmetric operator are asked for."""

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
    """What lies outside is asked for, what lies inside is not.

    Attributes:
        low: Wanted below; -inf when nothing is.
        high: Wanted above; inf when nothing is.
    """

    low: float
    high: float

    def outside(self, values: Tensor, margin: Tensor) -> Tensor:
        """Whether values are wanted by more than a margin."""
        return (values > self.high + margin) | (values < self.low - margin)


def order(values: Tensor, which: Which) -> Tensor:
    """Positions of the values, the most wanted first.

    Args:
        values: Shape (n,).
        which: "LM" largest magnitude, "LA" largest, "SA" smallest, "BE" both ends in turn, the largest first.
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
    """Where the eigenvalues that were left out lie.

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
