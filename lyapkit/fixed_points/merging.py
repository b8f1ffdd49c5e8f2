"""Merge the ends of searches that are the same point."""

from __future__ import annotations

import torch
from torch import Tensor


def merged(states: Tensor, error: Tensor, quality: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Merge states whose distance is below their errors.

    Two states are the same if no component differs by more than four times the errors of both, or ``floor``. All
    lengths are in units of the scale of each component, so that the rule does not depend on units. The best remaining
    state stands for all states that are the same as it.

    Args:
        states: Scaled states, shape (S, N).
        error: Largest distance of each from its exact place, shape (S,).
        quality: Quality of each, smaller is better, shape (S,).
        floor: Distance below which states are the same in any case.

    Returns:
        The indices of the states that stand for others, shape (P,), and for each state the place of its representative
        among them, shape (S,).
    """
    belongs = torch.full(states.shape[:1], -1, device=states.device)
    chosen: list[int] = []
    for index in torch.argsort(quality, stable=True).tolist():
        if int(belongs[index]) >= 0:
            continue
        free = (belongs < 0).nonzero().flatten()
        away = (states[free] - states[index]).abs().amax(dim=-1)
        same = away <= (4 * (error[free] + error[index])).clamp(min=floor)
        belongs[free[same]] = len(chosen)
        belongs[index] = len(chosen)
        chosen.append(index)
    return torch.tensor(chosen, dtype=torch.int64, device=states.device), belongs


def spread(states: Tensor, count: int) -> Tensor:
    """Return the indices of states that are far from each other: each next one is the farthest from those before.

    Args:
        states: Scaled states, shape (S, N).
        count: Largest number of indices.
    """
    chosen = [0]
    away = torch.full(states.shape[:1], torch.inf, dtype=states.dtype, device=states.device)
    while len(chosen) < min(count, len(states)):
        away = torch.minimum(away, (states - states[chosen[-1]]).square().sum(dim=-1))
        chosen.append(int(away.argmax()))
    return torch.tensor(chosen, dtype=torch.int64, device=states.device)
