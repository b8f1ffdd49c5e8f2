"""Recognise fixed points that are not isolated: lines, planes and rings of them.

Along a continuum of fixed points, the derivative of f(x) - x vanishes. It vanishes at some isolated points, too, such
as two points that are about to meet. So each candidate is moved a short way along such a direction, and searched again.
On a continuum, the search stays there, at another fixed point. Otherwise it comes back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.fixed_points.cloud import Cloud
from lyapkit.fixed_points.iterated import IteratedMap
from lyapkit.fixed_points.search import ARRIVED, search

AWAY = 1e-2
"""Distance by which a point is moved, in units of the scale."""

MOST_TRIED = 64
"""Largest number of candidates that are tried, far from each other. If most are on a continuum, the others count as
such."""

MOST_DIRECTIONS = 8
"""Largest number of directions that are tried for each candidate."""


def flat_directions(matrix: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the number of directions along which a scaled Jacobian of f(x) - x vanishes, and all directions in order.

    Args:
        matrix: Scaled Jacobians, shape (P, N, N).
        eps: Resolution of the map's type. Singular values below eps^0.4, relative to the largest or 1, count as zero.
            This is 5e-7, or 2e-3 in single precision. At a point that is known to 1e-8, they are not known better.

    Returns:
        Counts, shape (P,), and right singular vectors in rows, by ascending singular value, shape (P, N, N).
    """
    _, values, vectors = torch.linalg.svd(matrix)
    flat = values <= eps**0.4 * values.amax(dim=-1, keepdim=True).clamp(min=1.0)
    return flat.sum(dim=-1), vectors.flip(-2)


def continuum_dimension(iterated: IteratedMap, states: Tensor, matrix: Tensor, cloud: Cloud, most: int) -> Tensor:
    """Return the dimension of the continuum that each fixed point lies on, shape (P,); 0 if it is isolated.

    Args:
        iterated: Iterated map f^p.
        states: Fixed points, shape (P, N).
        matrix: Scaled Jacobians of f(x) - x at the points, shape (P, N, N).
        cloud: Scales.
        most: Largest number of steps of a search.
    """
    flat, directions = flat_directions(matrix, iterated.eps)
    dimension = torch.zeros_like(flat)
    for index in range(min(MOST_DIRECTIONS, int(flat.amax()) if len(flat) else 0)):
        which = (flat > index).nonzero().flatten()
        at, along = states[which].double(), directions[which, index] * cloud.scale
        longest = (along / cloud.scale).abs().amax(dim=-1, keepdim=True)
        moved = torch.cat((at + AWAY * along / longest, at - AWAY * along / longest)).to(states.dtype)
        ends = search(iterated, moved, cloud, 0.0, most)  # down to rounding, because slow maps move little in a step
        away = ((ends.state.double() - at.repeat(2, 1)) / cloud.scale).abs().amax(dim=-1)
        stays = ((ends.outcome == ARRIVED) & (away >= AWAY / 2) & (away <= 2 * AWAY)).reshape(2, -1).any(dim=0)
        dimension[which[stays]] += 1
    return torch.where((dimension == MOST_DIRECTIONS) & (flat > MOST_DIRECTIONS), flat, dimension)
