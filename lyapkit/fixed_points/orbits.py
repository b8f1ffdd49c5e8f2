"""Find the points that belong to the same periodic orbit, and its length."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.fixed_points.cloud import Cloud
from lyapkit.fixed_points.iterated import IteratedMap


def orbits(iterated: IteratedMap, states: Tensor, cloud: Cloud) -> tuple[Tensor, Tensor]:
    """Return the shortest period of each point of f^p, and a number for the orbit that it belongs to.

    Args:
        iterated: Iterated map f^p.
        states: Points, shape (P, N). Each returns to itself after p steps or, like a slow point, belongs to no orbit.
        cloud: Scales.

    Returns:
        The periods, which divide p, and the numbers, each the smallest index of a point of the orbit; both of shape
        (P,).
    """
    count, period = len(states), iterated.period
    minimal = torch.full((count,), period, device=states.device)
    number = torch.arange(count, device=states.device)
    if period == 1 or not count:
        return minimal, number
    same = iterated.eps**0.5
    scaled = states.double() / cloud.scale
    later = iterated.orbit(states, period).double() / cloud.scale  # (p + 1, P, N)
    for divisor in reversed([step for step in range(1, period) if period % step == 0]):
        returned = (later[divisor] - scaled).abs().amax(dim=-1) <= same
        minimal[returned] = divisor
    for one in later[1:period]:
        met = torch.cdist(one, scaled, p=torch.inf) <= same  # (P, P): row goes through column
        first = torch.where(met, torch.arange(count, device=states.device), count).amin(dim=1)
        number = torch.minimum(number, first)
    return minimal, number
