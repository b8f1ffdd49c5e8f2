"""The one `rng` argument of all functions; nothing is seeded globally."""

from __future__ import annotations

import torch

from lyapkit.checks.arguments import check_integer


def make_generator(rng: torch.Generator | int | None) -> torch.Generator:
    """Return a CPU generator from the argument ``rng``.

    Args:
        rng: A generator (used as it is, and advanced), a seed, or None for fresh entropy. The seed is found in
            ``generator.initial_seed()`` in each case, so that results can record it.

    Raises:
        TypeError: If it is none of these.
        ValueError: If a seed is negative or has more than 64 bits, or a generator does not live on the CPU.
    """
    if isinstance(rng, torch.Generator):
        if rng.device.type != "cpu":
            raise ValueError(
                f"rng must be a CPU generator, got one on {rng.device}; use torch.Generator().manual_seed(seed)."
            )
        return rng
    generator = torch.Generator()
    if rng is None:
        generator.seed()
        return generator
    try:
        rng = check_integer("rng", rng)
    except TypeError:
        raise TypeError(f"rng must be a torch.Generator, an integer seed or None, got {type(rng).__name__}.") from None
    if not 0 <= rng < 2**64:
        raise ValueError(f"rng must be a seed of at least 0 and below 2**64, got {rng}.")
    return generator.manual_seed(rng)
