"""Compute angles between vectors that are given in an orthonormal frame, and their spread over the units."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def splitting_angles(coordinates: Tensor) -> Tensor:
    r"""Compute the smallest angle between the spans of the first j vectors and of the others, j = 1, ..., k - 1.

    The first j of upper triangular columns span the first j axes. With the others in blocks A over B, their span is
    that of :math:`A B^{-1}` over the identity. Its smallest angle to those axes has the tangent
    :math:`1 / \|A B^{-1}\|_2`.

    Args:
        coordinates: Upper triangular matrices, shape (..., k, k).

    Returns:
        Angles in radians, in [0, pi/2], shape (..., k - 1).
    """
    k = coordinates.shape[-1]
    angles = []
    for split in range(1, k):
        above, below = coordinates[..., :split, split:], coordinates[..., split:, split:]
        slopes = torch.linalg.solve_triangular(below, above, upper=True, left=False)  # A B^{-1}
        touching = ~torch.isfinite(slopes).all(dim=-1).all(dim=-1)  # B is singular: the subspaces share a direction
        slope = torch.linalg.matrix_norm(slopes.where(~touching[..., None, None], torch.zeros_like(slopes)), ord=2)
        angle = torch.atan2(torch.ones_like(slope), slope)
        angles.append(angle.where(~touching, torch.zeros_like(angle)))
    return torch.stack(angles, dim=-1) if angles else coordinates.new_empty(*coordinates.shape[:-2], 0)


def consecutive_angles(vectors: Tensor) -> Tensor:
    """Compute the angle between each vector and the next, as lines: radians in [0, pi/2].

    Args:
        vectors: Unit vectors in columns, shape (..., N, k).

    Returns:
        Angles, shape (..., k - 1).
    """
    vector, following = vectors[..., :-1], vectors[..., 1:]
    cosine = (vector * following).sum(dim=-2)
    sine = torch.linalg.vector_norm(following - vector * cosine.unsqueeze(-2), dim=-2)  # exact for small angles
    return torch.atan2(sine, cosine.abs()).clamp(max=math.pi / 2)


def principal_angles(first: Tensor, second: Tensor) -> Tensor:
    """Compute the principal angles between the spans of two sets of columns, ascending: radians in [0, pi/2].

    Cosines are the singular values of the overlap of orthonormal bases; sines are those of the part of one basis that
    lies outside of the other span (Bjorck & Golub, Math. Comp. 27, 579, 1973). The angle from both is accurate
    whether it is small or not.

    Args:
        first: Linearly independent columns, shape (..., N, p).
        second: Linearly independent columns, shape (..., N, q).

    Returns:
        Angles, shape (..., min(p, q)).
    """
    if second.shape[-1] > first.shape[-1]:
        first, second = second, first
    first, second = torch.linalg.qr(first).Q, torch.linalg.qr(second).Q
    overlap = first.mT @ second
    cosines = torch.linalg.svdvals(overlap)
    sines = torch.linalg.svdvals(second - first @ overlap).flip(-1)
    return torch.atan2(sines, cosines)


def participation_ratio(vectors: Tensor) -> Tensor:
    """Compute 1 / sum_i v_i^4 of unit vectors in columns, (..., N, k) -> (..., k): from 1, on one unit, to N."""
    return vectors.pow(4).sum(dim=-2).reciprocal()
