"""Choose the starts of a search for fixed points: given states, states of a run, or sampled ones."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from lyapkit.checks.arguments import check_floating
from lyapkit.fixed_points.iterated import IteratedMap
from lyapkit.recurrent_map import RecurrentMap
from lyapkit.trajectories.sequences import FLAT, as_tensor

SETTLING = 50
"""Largest number of steps that sampled states take before they are used."""

FAR = 1e3
"""Largest distance of sampled states, relative to 1 and the initial state. Those that go farther are used as
sampled."""


def given_states(map: RecurrentMap, starts: Any, count: int, generator: torch.Generator) -> Tensor:
    """Return the given states, shape (S, N). From a result with more than ``count`` states, draw ``count`` at random.

    Raises:
        TypeError: If the starts are neither states nor the result of `lyapkit.states` or `lyapkit.fixed_points`.
        ValueError: If shape or type are wrong, or values are not finite.
    """
    if isinstance(starts, xr.DataTree):
        starts = starts.to_dataset()
    if isinstance(starts, xr.Dataset):
        if "state" not in starts:
            found = starts.attrs.get("analysis", "a Dataset without states")
            raise TypeError(
                f"starts must be states, or a result of lyapkit.states or lyapkit.fixed_points, got {found}; pass "
                "lyapkit.states(model, inputs)."
            )
        tensor = as_tensor("starts", starts["state"].values).flatten(end_dim=-2)
        if len(tensor) > count:
            tensor = tensor[torch.randperm(len(tensor), generator=generator, device="cpu")[:count]]
        tensor = tensor.to(map.dtype).to(map.device)
    else:
        tensor = as_tensor("starts", starts)
    check_floating("starts", tensor.dtype, map.dtype)
    size = map.state_size
    if tensor.ndim not in (1, 2) or tensor.shape[-1] != size:
        raise ValueError(f"starts must have shape ({size},) or (S, {size}), got {tuple(tensor.shape)}; {FLAT}.")
    tensor = tensor.detach().reshape(-1, size)
    if not len(tensor):
        raise ValueError("starts holds no state; give at least one, or leave it out to have some sampled.")
    if tensor.dtype != map.dtype:
        raise ValueError(
            f"starts has type {tensor.dtype} but the map computes in {map.dtype}; convert with .to({map.dtype})."
        )
    if tensor.device != map.device:
        raise ValueError(f"starts is on {tensor.device} but the map on {map.device}; move one with .to().")
    bad = ~torch.isfinite(tensor).all(dim=-1)
    if bool(bad.any()):
        raise ValueError(
            f"{int(bad.sum())} of {len(tensor)} starts hold a value that is not finite, the first at index "
            f"{int(bad.nonzero()[0])}; leave them out: starts[torch.isfinite(starts).all(-1)]."
        )
    return tensor.clone()


def sampled_states(iterated: IteratedMap, count: int, generator: torch.Generator) -> Tensor:
    """Draw states where a map without given starts may have fixed points, shape (S, N).

    Half of the states are random ones around the initial state, moved on by up to 50 steps. Their standard deviations
    lie between 0.01 and 0.5, so that nearly all are within the range (-1, 1) of common cells. The others are normally
    distributed with twice the standard deviation of the first half.

    Args:
        iterated: The map.
        count: Number of states, S.
        generator: Source of random numbers.
    """
    map = iterated.map
    first = (count + 1) // 2

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu").to(map.device)

    middle = map.initial_state(1).double()
    width = 0.01 * 50 ** torch.rand(first, 1, generator=generator, dtype=torch.float64, device="cpu").to(map.device)
    sampled = (middle + width * normal(first, map.state_size)).to(map.dtype)
    state, stays = sampled, torch.ones(first, 1, dtype=torch.bool, device=map.device)
    steps = torch.randint(0, SETTLING + 1, (first,), generator=generator, device="cpu").to(map.device)
    for step in range(SETTLING):
        after = iterated.orbit(state, 1)[1]
        stays &= (after.abs() <= FAR * (1 + middle.abs())).all(dim=-1, keepdim=True)  # false if not finite
        state = torch.where((step < steps).unsqueeze(-1) & stays, after, state)
    state = torch.where(stays, state, sampled)
    run = state.double()
    around = run.mean(dim=0) + 2 * run.std(dim=0, unbiased=False) * normal(count - first, map.state_size)
    return torch.cat((state, around.to(map.dtype)))
