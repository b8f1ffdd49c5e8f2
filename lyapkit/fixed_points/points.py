"""Turn the ends of searches into fixed and slow points: merge them, polish them, and complete orbits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.fixed_points.cloud import Cloud
from lyapkit.fixed_points.continuum import MOST_TRIED, continuum_dimension
from lyapkit.fixed_points.iterated import IteratedMap
from lyapkit.fixed_points.merging import merged, spread
from lyapkit.fixed_points.search import ARRIVED, STALLED, Ends, Linearised, damped_step, rounding

REPRESENTATIVES = 16
"""Number of points that stand for a continuum, far from each other."""

POLISHING = 60
"""Largest number of Newton steps for a point. Two or three reach rounding; where two points meet, each step gains one
bit."""

SLOW_FLOOR = 0.03
"""Distance, in units of the scale, below which two slow points are one: the place of the smallest |r| is known this
well."""

SLOW_PART = 0.1
"""A point is slow if |r| is below this part of its median at the starts."""


@dataclass(frozen=True)
class Points:
    """P fixed or slow points.

    Attributes:
        state: The points, shape (P, N), in the type of the map.
        slow: True if the speed has a minimum above zero, shape (P,).
        continuum: Dimension of the continuum that a point lies on, 0 for an isolated one, shape (P,).
        starts: Number of starts that ended at the point, shape (P,).
        starts_on_continuum: Number of starts that ended on a continuum, most of them at points that are not listed.
        plateaus: Number of starts that ended where the speed is the same all around.
    """

    state: Tensor
    slow: Tensor
    continuum: Tensor
    starts: Tensor
    starts_on_continuum: int = 0
    plateaus: int = 0


def collect(iterated: IteratedMap, ends: Ends, cloud: Cloud, tolerance: float, most: int, typical: float) -> Points:
    """Collect the points that searches have ended at, fixed points before slow ones.

    Args:
        iterated: Iterated map f^p.
        ends: Ends of searches.
        cloud: Scales.
        tolerance: Tolerance of the search.
        most: Largest number of steps of a search.
        typical: Median |r| of the starts.
    """
    fixed = _fixed(iterated, ends[ends.outcome == ARRIVED], cloud, tolerance, most)
    slow, plateaus = _slow(iterated, ends[ends.outcome == STALLED], cloud, typical)

    def joined(name: str) -> Tensor:
        return torch.cat((getattr(fixed, name), getattr(slow, name)))

    return Points(
        joined("state"), joined("slow"), joined("continuum"), joined("starts"), fixed.starts_on_continuum, plateaus
    )


def _fixed(iterated: IteratedMap, ends: Ends, cloud: Cloud, tolerance: float, most: int) -> Points:
    floor = iterated.eps**0.5
    scaled = ends.state.double() / cloud.scale
    quality = ends.residual.abs().amax(dim=-1)
    chosen, belongs = merged(scaled, ends.length, quality, floor)
    state, error, matrix = polished(iterated, ends.state[chosen], cloud)
    if iterated.period > 1 and len(state):
        orbit = iterated.orbit(state, iterated.period - 1).flatten(0, 1)  # each point with its orbit
        state, error, matrix = polished(iterated, orbit, cloud)
    again, belongs_again = merged(state.double() / cloud.scale, error, error, floor)
    state, error, matrix = state[again], error[again], matrix[again]
    starts = torch.bincount(belongs_again[belongs], minlength=len(again)) if len(again) else belongs
    dimension, whole = torch.zeros_like(starts), 0
    where = candidates(matrix, iterated.eps)
    if len(where):
        where = where[spread(state[where].double() / cloud.scale, len(where))] if len(where) > MOST_TRIED else where
        tried = where[:MOST_TRIED]
        dimension[tried] = continuum_dimension(iterated, state[tried], matrix[tried], cloud, most)
        if len(where) > MOST_TRIED and bool((dimension[tried] > 0).float().mean() > 0.5):
            dimension[where[MOST_TRIED:]] = dimension[tried].median()
        lying = (dimension > 0).nonzero().flatten()
        if len(lying):
            whole = int(starts[lying].sum())
            listed = lying[spread(state[lying].double() / cloud.scale, REPRESENTATIVES)]
            near = torch.cdist(state[lying].double() / cloud.scale, state[listed].double() / cloud.scale).argmin(dim=1)
            starts[listed] = torch.zeros_like(starts[listed]).index_add(0, near, starts[lying])
            kept = dimension == 0
            kept[listed] = True
            state, starts, dimension = state[kept], starts[kept], dimension[kept]
    return Points(state, torch.zeros_like(starts, dtype=torch.bool), dimension, starts, whole)


def candidates(matrix: Tensor, eps: float) -> Tensor:
    """Return the indices of scaled Jacobians of f(x) - x, (P, N, N), that may be singular.

    These have a large inverse, or a small smallest eigenvalue of A^T A. Both are cheaper to find than singular values.
    """
    square = torch.linalg.eigvalsh(matrix.mT @ matrix)
    smallest, largest = square[..., 0].clamp(min=0).sqrt(), square[..., -1].clamp(min=1).sqrt()
    found: Tensor = (smallest <= max(eps**0.4, 1e-7) * largest).nonzero().flatten()
    return found


def polished(iterated: IteratedMap, states: Tensor, cloud: Cloud) -> tuple[Tensor, Tensor, Tensor]:
    """Bring fixed points down to rounding by Newton steps, as long as each step halves the residual.

    Args:
        iterated: Iterated map f^p.
        states: Fixed points, shape (P, N).
        cloud: Scales.

    Returns:
        The states; their errors in units of the scale, (P,), leaving out errors along a continuum of fixed points; and
        the scaled Jacobians of f(x) - x there, (P, N, N).
    """
    states = states.clone()
    on = torch.arange(len(states), device=states.device)
    for _ in range(POLISHING):
        here = Linearised(iterated, states[on], cloud)
        step = newton_step(here)
        trial = (states[on].double() + step * cloud.scale).to(states.dtype)
        after = iterated.displacement(trial) / cloud.scale
        better = after.square().sum(dim=-1) < here.residual.square().sum(dim=-1) / 4
        better &= step.abs().amax(dim=-1) < 1e-2  # no jump to another point
        better &= (here.residual.abs() > rounding(iterated, here.matrix, states[on], cloud)).any(dim=-1)
        on = on[better]
        if not len(on):
            break
        states[on] = trial[better]
    here = Linearised(iterated, states, cloud)
    damped = damped_step(here.matrix, here.residual, torch.zeros_like(here.residual[:, 0]))
    return states, damped.abs().amax(dim=-1), here.matrix


def newton_step(here: Linearised) -> Tensor:
    """Return Newton steps, shape (P, N); if the matrix is singular, the shortest step."""
    if not len(here.residual):
        return here.residual
    solution, singular = torch.linalg.solve_ex(here.matrix, -here.residual.unsqueeze(-1))
    usable = (singular == 0) & torch.isfinite(solution).flatten(1).all(dim=-1)
    if not bool(usable.all()):
        bad = ~usable
        inverse = torch.linalg.pinv(here.matrix[bad], rtol=1e-10)
        solution[bad] = -inverse @ here.residual[bad].unsqueeze(-1)
    found: Tensor = solution.squeeze(-1)
    return found


def _slow(iterated: IteratedMap, ends: Ends, cloud: Cloud, typical: float) -> tuple[Points, int]:
    """Return slow points, and the number of searches that ended where the speed is the same all around."""
    speed = torch.linalg.vector_norm(ends.residual, dim=-1)
    flat = is_plateau(iterated, ends.state, cloud) if len(ends.state) else speed < 0
    kept = ends[(speed < SLOW_PART * typical) & ~flat]
    quality = torch.linalg.vector_norm(kept.residual, dim=-1)
    chosen, belongs = merged(kept.state.double() / cloud.scale, torch.zeros_like(quality), quality, SLOW_FLOOR)
    starts = torch.bincount(belongs, minlength=len(chosen)) if len(chosen) else belongs
    slow = torch.ones_like(starts, dtype=torch.bool)
    return Points(kept.state[chosen], slow, torch.zeros_like(starts), starts), int(flat.sum())


def is_plateau(iterated: IteratedMap, states: Tensor, cloud: Cloud) -> Tensor:
    """Return true where the speed is the same on both sides along random directions, shape (S,)."""
    generator = torch.Generator().manual_seed(3)
    around = torch.randn(4, 1, states.shape[1], generator=generator, dtype=torch.float64, device="cpu")
    around = around.to(states.device)
    moved = (states.double() + torch.cat((around, -around)) * 0.03 * cloud.scale).to(states.dtype)  # (8, S, N)
    around = iterated.displacement(moved.flatten(0, 1)).reshape(8, *states.shape) / cloud.scale
    speed = torch.linalg.vector_norm(around, dim=-1)
    here = torch.linalg.vector_norm(iterated.displacement(states) / cloud.scale, dim=-1)
    flat: Tensor = ((speed - here).abs() <= 1e-6 * here).all(dim=0)
    return flat
