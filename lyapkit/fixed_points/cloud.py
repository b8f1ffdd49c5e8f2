"""Measure the cloud of the starts of a search: its middle, and the scale of each unit, which is the unit of length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_PART = 1e-3
"""Scale of a unit that hardly varies, as part of its largest value, so that noise is not the scale of saturated
units."""


@dataclass(frozen=True)
class Cloud:
    """The region in which the starts of a search lie.

    Attributes:
        middle: Median of the starts, shape (N,), float64.
        scale: Standard deviation of each unit, shape (N,), float64, positive.
        radius: Largest distance of a start from the middle in units of the scale, at least 1; inf if all starts are the
            same.
    """

    middle: Tensor
    scale: Tensor
    radius: float

    def distance(self, states: Tensor) -> Tensor:
        """Return the distance of states (S, N) from the middle: root mean square over units, in units of the scale."""
        return ((states.double() - self.middle) / self.scale).square().mean(dim=-1).sqrt()


def cloud_of(starts: Tensor, images: Tensor) -> Cloud:
    """Measure a cloud of starts.

    If all starts agree in a unit, this unit has the scale of the other units or, if that is longer, of the way to the
    images. If all starts are the same, nothing counts as far from them.

    Args:
        starts: Starts, shape (S, N).
        images: Values of f at the starts, shape (S, N). Those that are not finite do not count.
    """
    starts = starts.double()
    middle = starts.median(dim=0).values
    largest = starts.abs().amax(dim=0)
    scale = torch.maximum(_extent(starts - middle), LEAST_PART * largest)
    flat = _extent(starts - middle) == 0
    moved = images.double()[torch.isfinite(images).all(dim=-1)]
    if len(moved):
        scale = torch.where(flat, torch.maximum(scale, _extent(moved - middle)), scale)
    if not bool(flat.all()):
        scale = torch.where(flat, scale.clamp(min=float(scale[~flat].median())), scale)
    typical = scale[scale > 0].median() if bool((scale > 0).any()) else torch.ones_like(scale[0])
    scale = torch.where(scale > 0, scale, typical)
    radius = float(Cloud(middle, scale, 0.0).distance(starts).amax())
    return Cloud(middle, scale, torch.inf if bool(flat.all()) else max(1.0, radius))


def _extent(differences: Tensor) -> Tensor:
    """Return the root mean square of each column of differences, (S, N), without overflow or underflow."""
    largest = differences.abs().amax(dim=0)
    safe = torch.where(largest > 0, largest, 1.0)
    return safe * (differences / safe).square().mean(dim=0).sqrt()
