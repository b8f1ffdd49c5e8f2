"""What a map does at a few fixed states: by this a result knows whether it is continued with the map it came from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap

SCALES = (0.1, 1.0, 1.0, 10.0)
"""Sizes of the fixed states: near the rest of a network, in its working range, and where it saturates."""

ROUNDING = {"float64": 1e-10, "float32": 4e-6}
"""Relative difference of images that machines, devices and types may make, over the square root of N. Between a float32
network and its float64 copy, 1e-8 to 1e-7 was measured for 10 to 1,500 units, and 1.2e-6 for 1,000 saturated ones."""

Fingerprint = list[list[float] | None]


@torch.no_grad()
def fingerprint(map: RecurrentMap, state: Tensor) -> Fingerprint:
    """Return two random combinations of the components of f(x, s), and their size, at fixed x and s and at one state.

    Whatever changes the map shows in its images: weights, buffers, constants, a feedback; whatever does not, such as
    another readout or another name, does not. Where a step fails or is not finite, there is nothing to compare.

    Args:
        map: the map.
        state: one more state, such as one of a trajectory, where the map is known to be defined; shape (N,).

    Returns:
        For each state the two combinations and the largest magnitude of a component, as JSON has it, or None.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")

    mixture = normal(map.state_size, 2)
    states = [scale * normal(map.state_size) for scale in SCALES]
    inputs = torch.rand(len(SCALES) + 1, map.input_size, generator=generator, dtype=torch.float64, device="cpu")
    images: Fingerprint = []
    for x, s in zip([*states, state.detach().cpu().double()], inputs, strict=True):
        given = s.to(map.device, map.dtype)[None] if map.input_size else None
        try:
            after = map.step(x.to(map.device, map.dtype)[None], given)[0].detach().cpu().double()
        except Exception:  # a step that is not defined there
            images.append(None)
            continue
        values = [*(after @ mixture).tolist(), float(after.abs().max())]
        images.append(values if all(math.isfinite(value) for value in values) else None)
    return images


def difference(ours: Fingerprint, theirs: Fingerprint) -> float:
    """Return the largest difference of images, relative to their size; 0 where there is nothing to compare."""
    found = [0.0]
    for one, other in zip(ours, theirs, strict=True):
        if one is not None and other is not None:
            size = max(one[2], other[2])
            found += [abs(a - b) / size for a, b in zip(one, other, strict=True) if size]
    return max(found)


def tolerance(state_size: int, *dtypes: str) -> float:
    """Return the `difference` that rounding may make between maps of N components that compute in these types."""
    return max(ROUNDING[dtype] for dtype in dtypes) * math.sqrt(state_size)
