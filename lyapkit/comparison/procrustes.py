r"""Procrustes alignment of the states of two networks.

States are centred and brought to the same size, :math:`|X|_F = |Y|_F = 1`, states in rows. The Riemannian shape
distance is the angle

.. math:: \theta = \min_Q \arccos \langle X, Y Q \rangle = \arccos \| X^\mathsf{T} Y \|_*

over orthogonal Q, with the nuclear norm (Kendall, Bull. London Math. Soc. 16, 81, 1984; Williams, Kunz, Kornblith &
Linderman, "Generalized shape metrics on neural representations", NeurIPS 2021). It is a metric: 0 for
shapes that a shift, a scale and an orthogonal map take into each other, at most pi/2, and the triangle inequality
holds. The smaller of two state spaces is padded with zeros, which leaves the nuclear norm as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Alignment:
    r"""The best orthogonal map from the states y of one network to the states x of another.

    Attributes:
        rotation: R with :math:`x - \bar x \approx s R (y - \bar y)`, shape (N, M): orthonormal columns if N >= M,
            orthonormal rows if N <= M.
        scale: Least squares scale s.
        distance: The angle theta in radians, a scalar.
        open: Orthonormal directions of x and of y, in columns, between which the map is arbitrary, because the states
            do not vary along one of them: shapes (N, F) and (M, G); no columns where the map is unique.
        dimensions: Number of dimensions in which the states determine the map.
    """

    rotation: Tensor
    scale: Tensor
    distance: Tensor
    open: tuple[Tensor, Tensor]
    dimensions: int


def align(x: Tensor, y: Tensor, eps: float) -> Alignment | None:
    """Find the best map between the states of two networks.

    Args:
        x: States of the first, shape (S, N), float64.
        y: States of the second at the same steps, shape (S, M), float64.
        eps: Resolution of the type that the networks compute in.

    Returns:
        The alignment; None where one of the networks rests: its states do not vary beyond rounding.
    """
    first, second = _centred(x, eps), _centred(y, eps)
    if first is None or second is None:
        return None
    (shape, size), (other, other_size) = first, second
    left, strength, right = torch.linalg.svd(shape.T @ other)
    least = min(shape.shape[1], other.shape[1])
    rotation = left[:, :least] @ right[:least]
    known = int((strength > max(x.shape[1], y.shape[1]) * eps * strength[0]).sum())
    beyond = (left[:, known:], right[known:].T) if known < least else (left[:, :0], right[:0].T)
    chord = _chord(shape, other, rotation)
    cosine = 1 - chord.square() / 2
    return Alignment(rotation, cosine * size / other_size, _angle(chord), beyond, known)


def shape_distance(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return the angle theta alone; pi/2 where one of the networks rests in the states given.

    Args:
        x: States of the first, shape (S, N), float64.
        y: States of the second at the same steps, shape (S, M), float64.
        eps: Resolution of the type that the networks compute in.
    """
    found = align(x, y, eps)
    return x.new_tensor(math.pi / 2) if found is None else found.distance


def _centred(states: Tensor, eps: float) -> tuple[Tensor, Tensor] | None:
    """Return centred states of norm 1, and the norm that they had."""
    largest = states.abs().amax()  # squares of tiny or huge states would leave the range of float64
    if largest == 0:
        return None
    states = states / largest
    centred = states - states.mean(dim=0)
    size = torch.linalg.vector_norm(centred)
    if size <= 8 * eps * torch.linalg.vector_norm(states):
        return None
    return centred / size, size * largest


def _chord(shape: Tensor, other: Tensor, rotation: Tensor) -> Tensor:
    """Return |X - Y Q|, computed from the difference itself, so that small distances keep their digits."""
    wide = rotation.shape[0] < rotation.shape[1]
    chord: Tensor = torch.linalg.vector_norm(shape @ rotation - other if wide else shape - other @ rotation.T)
    return chord


def _angle(chord: Tensor) -> Tensor:
    """Return the angle between two points of a unit sphere at this distance; at most pi/2."""
    return 2 * torch.asin((chord / 2).clamp(max=0.5**0.5))
