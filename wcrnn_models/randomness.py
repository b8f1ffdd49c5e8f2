"""One ``rng`` argument for everything random: a generator, a seed, or None; nothing is seeded globally."""

from __future__ import annotations

import torch
from torch import Tensor

RandomSource = torch.Generator | int | None


def as_generator(rng: RandomSource) -> torch.Generator:
    """Return the generator to draw from.

    Args:
        rng: A CPU generator, which is advanced; a seed, which gives a new generator; or None for PyTorch's
            global generator, which `torch.nn.Linear` draws from too.

    Raises:
        TypeError: If ``rng`` is none of these.
        ValueError: If the seed is negative or the generator is not on the CPU.
    """
    if rng is None:
        return torch.default_generator
    if isinstance(rng, torch.Generator):
        if rng.device.type != "cpu":
            raise ValueError(
                f"rng must be a CPU generator, got one on {rng.device}; numbers are drawn on the CPU, so "
                "that a seed gives the same network on every device."
            )
        return rng
    if isinstance(rng, bool) or not isinstance(rng, int):
        raise TypeError(f"rng must be a torch.Generator, an int or None, got {type(rng).__name__}.")
    if rng < 0:
        raise ValueError(f"rng must be a seed >= 0, got {rng}.")
    return torch.Generator().manual_seed(rng)


def uniform(size: tuple[int, ...], low: float, high: float, rng: RandomSource) -> Tensor:
    """Draw samples of U(low, high) in float64, shape ``size``.

    The caller rounds them, so that a float32 network is the float64 network of the same seed, rounded.
    """
    samples = torch.empty(size, dtype=torch.float64)
    return samples.uniform_(low, high, generator=as_generator(rng))


def normal(size: tuple[int, ...], rng: RandomSource) -> Tensor:
    """Draw samples of the standard normal distribution in float64, shape ``size``."""
    return torch.empty(size, dtype=torch.float64).normal_(generator=as_generator(rng))
