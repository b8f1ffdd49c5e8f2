"""Vectors kept at unit size beside the logarithm of their scale, so that they neither underflow nor overflow."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Scaled(NamedTuple):
    """B vectors, each of which is exp(log_scale) times ``vector``.

    Attributes:
        vector: Vectors in float64, shape (B, N); the largest component has magnitude 1, or all are 0.
        log_scale: Logarithms of the scales in float64, shape (B,); -inf where the vector is zero.
    """

    vector: Tensor
    log_scale: Tensor

    @classmethod
    def of(cls, vector: Tensor) -> Scaled:
        """Bring vectors (B, N) to unit size."""
        vector = vector.double()
        return cls(vector, torch.zeros_like(vector[:, 0])).rescaled()

    @classmethod
    def zeros(cls, shape: torch.Size, device: torch.device) -> Scaled:
        """Return B vectors that are zero."""
        vector = torch.zeros(shape, dtype=torch.float64, device=device)
        return cls(vector, torch.full_like(vector[:, 0], -torch.inf))

    def rescaled(self) -> Scaled:
        """Bring the largest component to 1 and move the rest into the scale."""
        size = self.vector.abs().amax(dim=-1)  # (B,)
        gone = size == 0
        vector = self.vector / torch.where(gone, torch.ones_like(size), size).unsqueeze(-1)
        return Scaled(vector, torch.where(gone, torch.full_like(size, -torch.inf), self.log_scale + size.log()))

    def __add__(self, other: object) -> Scaled:
        """Return the sum of the vectors."""
        if not isinstance(other, Scaled):
            return NotImplemented
        top = torch.maximum(self.log_scale, other.log_scale)
        return Scaled(self.relative_to(top) + other.relative_to(top), top).rescaled()

    def relative_to(self, log_scale: Tensor) -> Tensor:
        """Divide the vectors by exp(log_scale), shape (B, N), or by 1 if that is 0."""
        finite = torch.where(torch.isinf(log_scale), torch.zeros_like(log_scale), log_scale)
        return (self.log_scale - finite).exp().unsqueeze(-1) * self.vector

    def log_norm(self, order: float) -> Tensor:
        """Return the logarithms of vector norms, shape (B,); -inf for zero."""
        norm: Tensor = torch.linalg.vector_norm(self.vector, ord=order, dim=-1)
        return norm.log() + self.log_scale
