"""Images of a map at a few fixed states, which tell whether a result is continued with the same map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.recurrent_map import RecurrentMap

SCALES = (0.1, 1.0, 1.0, 10.0)
"""Sizes of the fixed states: near a network's rest, in its working range, and where it saturates."""

ROUNDING = {"float64": 1e-10, "float32": 4e-6}
"""Relative difference that machines, devices and types may make between images, over the square root of N. Between a
float32 network and its float64 copy, 1e-8 to 1e-7 was measured for 10 to 1,500 units, and 1.2e-6 for 1,000 saturated
units."""

Fingerprint = list[list[float] | None]


@torch.no_grad()
def fingerprint(map: RecurrentMap, state: Tensor) -> Fingerprint:
    """Compute two random combinations of the components of f(x, s), and their size, at a few fixed states and one more.

    All that changes the map changes these numbers: weights, buffers, constants, a feedback. All else leaves them, such
    as another readout or another name. Where a step fails or is not finite, there is nothing to compare.

    Args:
        map: The map.
        state: The one more state, shape (N,), where the map is known to be defined, such as one of a trajectory.

    Returns:
        For each state the two combinations and the largest magnitude of a component, ready for JSON, or None.
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
        except Exception:  # the step is not defined there
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
