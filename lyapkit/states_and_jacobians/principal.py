"""Compute the principal axes of states, along which they vary most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_COMPONENTS = 10
"""Largest number of components that are kept; pictures show two or three."""


@dataclass(frozen=True)
class PrincipalAxes:
    """Orthonormal axes through the mean of some states.

    Attributes:
        mean: Mean of the states, shape (N,).
        axes: Unit vectors in rows, by descending variance, shape (C, N). The entry of largest magnitude is positive.
        variance: Variance along each axis, shape (C,).
        part: Part of the whole variance along each axis, shape (C,); 0 if nothing varies.
    """

    mean: Tensor
    axes: Tensor
    variance: Tensor
    part: Tensor


def principal_axes(states: Tensor) -> PrincipalAxes:
    """Compute the principal axes of states, in float64.

    They are the leading eigenvectors of the covariance matrix. If there are fewer states than units, they are computed
    from the products of the states with each other.

    Args:
        states: States, shape (S, N).
    """
    states = states.double()
    mean = states.mean(dim=0)
    centred = states - mean
    count, size = centred.shape
    kept = min(count, size, MOST_COMPONENTS)
    scale = centred.abs().amax()  # squares of tiny or huge states would leave the range of float64
    centred = centred / torch.where(scale > 0, scale, 1.0)
    if size <= count:
        variance, vectors = torch.linalg.eigh(centred.T @ centred)
        axes = vectors.T.flip(0)[:kept]
    else:
        variance, vectors = torch.linalg.eigh(centred @ centred.T)
        axes = torch.linalg.qr(centred.T @ vectors.flip(1)[:, :kept]).Q.T
    variance = variance.flip(0).clamp(min=0)
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    total = variance.sum()
    part = variance[:kept] / torch.where(total > 0, total, 1.0)
    return PrincipalAxes(mean, axes * largest.sign(), variance[:kept] * scale**2 / max(1, count - 1), part)
