r"""Minimise the displacement of a map by the Levenberg-Marquardt method, for many starts at once.

With the scale s_i of each unit, the scaled residual and its Jacobian are

    r_i = (f(x) - x)_i / s_i,        A_ij = (J - I)_ij s_j / s_i,

and a step d solves (A^T A + mu I) d = -A^T r. With mu = alpha |r| (Fan & Yuan, Computing 74, 2005), convergence is
quadratic at every point where f(x) - x grows with the distance from the set of fixed points, even on a continuum. The
better the linear model predicted the decrease of |r|^2, the smaller is the next alpha. If |r| has a minimum above zero,
the search ends there, at a slow point.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.fixed_points.cloud import Cloud
from lyapkit.fixed_points.iterated import IteratedMap

NEAR = 1e-5
"""Length of the last step, in units of the scale, below which a search has arrived."""

IDLE = 12
"""Number of steps in a row after which a search ends if each lowers the speed by less than 1e-4 of it, or not at
all."""

IDLE_AT_POINT = 3
"""The same number if the residual is below the tolerance, where rounding prevents further decrease."""

GONE, OUTSIDE = 1e2, 3.0
"""A search is given up if it is so many times as far from the middle as the farthest start. The second number holds for
searches that have not ended when their steps run out, for example because gates saturate and the speed fades towards
infinity."""

CLOSE = 1e-2
"""Residuals above this do not come from rounding, unless the Jacobian is of the order of 1 / eps."""

RUNNING, ARRIVED, STALLED, LOST = 0, 1, 2, 3
"""States of a search: running, ended at a fixed point, ended at a minimum of the speed, or lost."""


@dataclass(frozen=True)
class Ends:
    """The ends of searches, one for each start.

    Attributes:
        state: States x, shape (S, N), in the type of the map.
        residual: Residuals r, shape (S, N).
        length: Largest component of the last step, in units of the scale, shape (S,).
        outcome: One of `ARRIVED`, `STALLED`, `LOST`, or `RUNNING` if its steps have run out, shape (S,).
        iterations: Number of steps that were tried, shape (S,).
    """

    state: Tensor
    residual: Tensor
    length: Tensor
    outcome: Tensor
    iterations: Tensor

    def __getitem__(self, chosen: Tensor) -> Ends:
        return Ends(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def search(iterated: IteratedMap, starts: Tensor, cloud: Cloud, tolerance: float, most: int) -> Ends:
    """Search for a fixed point from each start.

    Args:
        iterated: Iterated map f^p.
        starts: Starts, shape (S, N).
        cloud: Scales.
        tolerance: Largest |r_i| of a fixed point, besides rounding.
        most: Largest number of steps to try.
    """
    parts = [_search(iterated, part, cloud, tolerance, most) for part in torch.split(starts, iterated.at_once())]
    return Ends(*(torch.cat([getattr(part, name) for part in parts]) for name in Ends.__dataclass_fields__))


class Linearised:
    """Scaled residuals of states, and their Jacobians.

    Args:
        iterated: Iterated map f^p.
        states: States, shape (S, N).
        cloud: Scales.

    Attributes:
        residual: Residuals r, shape (S, N).
        matrix: Jacobians A, shape (S, N, N).
    """

    def __init__(self, iterated: IteratedMap, states: Tensor, cloud: Cloud) -> None:
        self.residual = iterated.displacement(states) / cloud.scale
        identity = torch.eye(states.shape[-1], dtype=torch.float64, device=states.device)
        self.matrix = (iterated.jacobian(states) - identity) * (cloud.scale / cloud.scale.unsqueeze(-1))


def rounding(iterated: IteratedMap, matrix: Tensor, states: Tensor, cloud: Cloud) -> Tensor:
    """Return bounds of the rounding of residuals, shape (S, N): of a product with the Jacobian and of a difference."""
    size = (states.double() / cloud.scale).abs()
    return 4 * iterated.eps * ((matrix.abs() @ size.unsqueeze(-1)).squeeze(-1) + 2 * size)


def _search(iterated: IteratedMap, starts: Tensor, cloud: Cloud, tolerance: float, most: int) -> Ends:
    x = starts.clone()
    first = Linearised(iterated, x, cloud)
    r, matrix = first.residual, first.matrix
    count = x.shape[0]
    alpha = torch.ones(count, dtype=torch.float64, device=x.device)
    length = torch.full_like(alpha, torch.inf)
    idle = torch.zeros(count, dtype=torch.int64, device=x.device)
    iterations, outcome = torch.zeros_like(idle), torch.full_like(idle, RUNNING)
    outcome[~(torch.isfinite(r).all(dim=-1) & torch.isfinite(matrix).flatten(1).all(dim=-1))] = LOST
    single = iterated.eps > 1e-10
    near = 1e2 * NEAR if single else NEAR
    for _ in range(most):
        on = (outcome == RUNNING).nonzero().flatten()
        if not len(on):
            break
        here, slope, cost = r[on], matrix[on], r[on].square().sum(dim=-1)
        step = damped_step(slope, here, alpha[on])
        trial = (x[on].double() + step * cloud.scale).to(x.dtype)
        after = iterated.displacement(trial) / cloud.scale
        cost_after = after.square().sum(dim=-1).nan_to_num(nan=torch.inf)
        expected = cost - (here + (slope @ step.unsqueeze(-1)).squeeze(-1)).square().sum(dim=-1)
        ratio = torch.where(expected > 0, (cost - cost_after) / expected, 0.0)
        better = (cost_after < cost) | (cost_after == 0)
        factor = torch.where(better, torch.where(ratio > 0.75, 0.25, torch.where(ratio < 0.25, 4.0, 1.0)), 10.0)
        alpha[on] = (alpha[on] * factor).clamp(1e-12, 1e30)
        moved = on[better]
        x[moved], r[moved] = trial[better], after[better]
        length[on] = step.abs().amax(dim=-1)
        idle[on] = torch.where(better & (cost_after < (1 - 1e-4) * cost), 0, idle[on] + 1)
        iterations[on] += 1
        resolved = (r[on].abs() <= tolerance).all(dim=-1)
        close = ~resolved & (r[on].abs() <= CLOSE).all(dim=-1)  # elsewhere rounding does not matter
        if bool(close.any()):
            room = tolerance + rounding(iterated, slope[close], x[on][close], cloud)
            resolved[close] = (r[on][close].abs() <= room).all(dim=-1)
        arrived = resolved & ((length[on] <= near) | (idle[on] >= IDLE_AT_POINT))
        lost = cloud.distance(x[on]) > GONE * cloud.radius
        stalled = ~resolved & (idle[on] >= IDLE)
        outcome[on] = torch.where(arrived, ARRIVED, torch.where(lost, LOST, torch.where(stalled, STALLED, RUNNING)))
        again = moved[outcome[moved] == RUNNING]
        if len(again):
            matrix[again] = Linearised(iterated, x[again], cloud).matrix
            bad = ~torch.isfinite(matrix[again]).flatten(1).all(dim=-1)
            outcome[again[bad]] = LOST
    outcome[(outcome == RUNNING) & (cloud.distance(x) > OUTSIDE * cloud.radius)] = LOST
    return Ends(x, r, length, outcome, iterations)


def damped_step(matrix: Tensor, residual: Tensor, alpha: Tensor) -> Tensor:
    """Return -(A^T A + alpha |r| I)^-1 A^T r, shape (S, N).

    If rounding makes the matrix singular, return a step against the gradient A^T r.

    Args:
        matrix: Jacobians A, shape (S, N, N).
        residual: Residuals r, shape (S, N).
        alpha: Damping alpha, shape (S,).
    """
    square = matrix.mT @ matrix
    gradient = (matrix.mT @ residual.unsqueeze(-1)).squeeze(-1)
    diagonal = square.diagonal(dim1=-2, dim2=-1)
    damping = alpha * torch.linalg.vector_norm(residual, dim=-1) + 1e-15 * (1 + diagonal.amax(dim=-1))
    diagonal += damping.unsqueeze(-1)
    factor, failed = torch.linalg.cholesky_ex(square)
    step = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
    steepest = -gradient / (damping + diagonal.amax(dim=-1)).unsqueeze(-1)
    usable = (failed == 0).unsqueeze(-1) & torch.isfinite(step).all(dim=-1, keepdim=True)
    return torch.where(usable, step, steepest)
