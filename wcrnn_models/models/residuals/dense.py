"""A residual given by any matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from wcrnn_models.models.residuals.base import Residual, ResidualSpec, check_finite_tensor


class DenseResidual(Residual):
    """R given by all its N x N entries: one matrix product a state."""

    weight: Tensor  # R

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.size = len(matrix)
        self.register_buffer("weight", matrix)

    def forward(self, state: Tensor) -> Tensor:
        """Compute R x: shape (..., N) to (..., N)."""
        return torch.nn.functional.linear(state, self.weight)

    def matrix(self) -> Tensor:
        """Return a copy of R, shape (N, N)."""
        return self.weight.clone()


def dense(matrix: Tensor) -> ResidualSpec:
    """Make R from a matrix, which is copied.

    Args:
        matrix: Entries, shape (N, N), applied as R x.

    Raises:
        ValueError: If it is not square or not finite, or, when it is built, not N x N.
    """
    entries = check_finite_tensor("matrix", matrix)
    if entries.ndim != 2 or entries.shape[0] != entries.shape[1]:
        raise ValueError(
            f"matrix must be square, (N, N), got shape {tuple(entries.shape)}"
            + ("; for one entry per unit use residuals.diagonal" if entries.ndim == 1 else "")
        )

    def construct(size: int) -> Residual:
        if len(entries) != size:
            raise ValueError(
                f"a dense residual for {size} units must be {size} x {size}, got {tuple(entries.shape)}; "
                "give a matrix of hidden_size rows and columns."
            )
        return DenseResidual(entries.clone())

    return ResidualSpec(f"dense({len(entries)} x {len(entries)})", construct)
