"""Draw the numbers of a new network, in one type and from one generator."""

from __future__ import annotations

import math

import torch
from torch import nn

from wcrnn_models.randomness import RandomSource, as_generator, uniform


class InitialWeights:
    """Draws from one generator, so that a seed does not give every layer the same numbers.

    All are drawn in float64 and rounded, so that a float32 network is the float64 network of the same seed, rounded.

    Args:
        rng: Where numbers are drawn from; None draws from PyTorch's global generator.
        dtype: Floating-point type of the weights; PyTorch's default if it is None.

    Attributes:
        generator: The generator.
        dtype: The type.

    Raises:
        ValueError: If ``dtype`` is not a floating-point type, a seed is negative, or a generator is not on the CPU.
        TypeError: If ``rng`` is neither a generator, a seed nor None.
    """

    def __init__(self, rng: RandomSource, dtype: torch.dtype | None) -> None:
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        if not self.dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}.")
        self.generator = as_generator(rng)

    def affine(self, inputs: int, outputs: int) -> nn.Linear:
        """Make an `nn.Linear` with weights and biases of U(-1/sqrt(n_in), 1/sqrt(n_in)) (section 4)."""
        layer = nn.Linear(inputs, outputs, device="meta", dtype=self.dtype).to_empty(device="cpu")
        self.fill(layer, 1.0 / math.sqrt(inputs))
        return layer

    def fill(self, module: nn.Module, bound: float) -> None:
        """Draw all parameters of a module from U(-bound, bound)."""
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(uniform(tuple(parameter.shape), -bound, bound, self.generator))
