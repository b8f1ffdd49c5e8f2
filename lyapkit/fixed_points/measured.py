"""Measure each point that a search has found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lyapkit.checks.kinks import kinked
from lyapkit.fixed_points.cloud import Cloud
from lyapkit.fixed_points.iterated import IteratedMap
from lyapkit.fixed_points.orbits import orbits
from lyapkit.fixed_points.points import Points, newton_step
from lyapkit.fixed_points.search import OUTSIDE, Linearised
from lyapkit.fixed_points.stability import Stability, stability


@dataclass(frozen=True)
class Measured:
    """Numbers of P points. All have shape (P,) except the stability.

    Attributes:
        speed: Length of f^p(x) - x.
        residual: Largest component of f^p(x) - x, in units of its scale.
        error: Length of a Newton step from the point; inf for slow points and those that are not isolated.
        stability: Eigenvalues, and the number of them outside the unit circle.
        on_kink: True if the map has no derivative at the point or on its orbit.
        outlier: True if the point is far from the starts.
        period: Shortest period.
        orbit: Number of the orbit.
    """

    speed: Tensor
    residual: Tensor
    error: Tensor
    stability: Stability
    on_kink: Tensor
    outlier: Tensor
    period: Tensor
    orbit: Tensor


def measure(iterated: IteratedMap, points: Points, cloud: Cloud) -> Measured:
    """Measure points.

    Args:
        iterated: Iterated map f^p.
        points: The points.
        cloud: Scales.
    """
    state = points.state
    here = Linearised(iterated, state, cloud)
    step = newton_step(here) * cloud.scale
    rounded = iterated.eps * state.double().abs()
    error = torch.linalg.vector_norm(torch.maximum(step.abs(), rounded), dim=-1)
    exact = ~points.slow & (points.continuum == 0)
    margin = torch.full_like(error, iterated.eps**0.5)
    jacobian = iterated.jacobian(state)
    known = stability(jacobian, margin)
    doubtful = exact & ((step / cloud.scale).abs().amax(dim=-1) > iterated.eps**0.5)
    if bool(doubtful.any()):  # two points that meet: the eigenvalues are known only as well as the point
        nearer = (state[doubtful].double() + step[doubtful]).to(state.dtype)
        other = stability(iterated.jacobian(nearer), margin[doubtful]).eigenvalues.abs()
        margin[doubtful] += 4 * (other - known.eigenvalues[doubtful].abs()).abs().amax(dim=-1)
        known = stability(jacobian, margin)
    on_kink = torch.zeros(len(state), dtype=torch.bool, device=state.device)
    for each in iterated.orbit(state, iterated.period - 1) if len(state) else ():
        on_kink |= kinked(iterated.map, each, iterated.input_of(each))
    period, orbit = orbits(iterated, state, cloud)
    return Measured(
        torch.linalg.vector_norm(here.residual * cloud.scale, dim=-1),
        here.residual.abs().amax(dim=-1),
        torch.where(exact, error, torch.inf),
        known,
        on_kink,
        cloud.distance(state) > OUTSIDE * cloud.radius,
        torch.where(points.slow, iterated.period, period),
        torch.where(points.slow, torch.arange(len(state), device=state.device), orbit),
    )


def order(points: Points, found: Measured, cloud: Cloud) -> Tensor:
    """Return the order of points: fixed before slow, short periods first, fewer unstable directions first.

    Among equals, orbits are kept together, and the smaller first component comes first.

    Args:
        points: The points.
        found: Measured numbers of the points.
        cloud: Scales.
    """
    scaled = (points.state.double() / cloud.scale).cpu().numpy().round(4)
    place = np.empty(len(scaled), dtype=int)
    place[np.lexsort(scaled.T[::-1])] = np.arange(len(scaled))
    orbit = found.orbit.cpu().numpy()
    earliest = np.full(len(place), len(place))
    np.minimum.at(earliest, orbit, place)
    keys = (place, earliest[orbit], found.stability.unstable, found.period, points.slow)
    return torch.from_numpy(np.lexsort([np.asarray(key if isinstance(key, np.ndarray) else key.cpu()) for key in keys]))


def renumbered(numbers: Tensor) -> Tensor:
    """Return numbers from 1 in the order in which they first appear, shape (P,)."""
    seen: dict[int, int] = {}
    found = [seen.setdefault(number, len(seen) + 1) for number in numbers.tolist()]
    return torch.tensor(found, dtype=torch.int64, device="cpu")
