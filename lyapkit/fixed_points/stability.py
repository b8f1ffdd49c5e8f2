"""Tell the stability of a point from the eigenvalues of its Jacobian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.states_and_jacobians.step_jacobian import magnitude_order


@dataclass(frozen=True)
class Stability:
    """Linear stability of P points.

    Attributes:
        eigenvalues: Eigenvalues by descending magnitude, complex, shape (P, N).
        eigenvectors: Unit vectors in columns, in the same order, shape (P, N, N); the entry of largest magnitude is
            real and positive.
        unstable: Number of eigenvalues outside the unit circle, shape (P,).
        marginal: Number of eigenvalues on it, within the margin, shape (P,).
    """

    eigenvalues: Tensor
    eigenvectors: Tensor
    unstable: Tensor
    marginal: Tensor


def stability(jacobian: Tensor, margin: Tensor) -> Stability:
    """Compute the stability of points from their Jacobians.

    Args:
        jacobian: Jacobians, shape (P, N, N), float64.
        margin: Magnitudes within 1 +- margin count as 1, shape (P,).
    """
    roots, vectors = torch.linalg.eig(jacobian)
    order = magnitude_order(roots)
    roots = roots.gather(-1, order)
    vectors = vectors.gather(-1, order.unsqueeze(-2).expand_as(vectors))
    largest = vectors.gather(-2, vectors.abs().argmax(dim=-2, keepdim=True))
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=-2, keepdim=True) * (largest.conj() / largest.abs())
    size = roots.abs()
    room = margin.unsqueeze(-1)
    return Stability(roots, vectors, (size > 1 + room).sum(dim=-1), ((size - 1).abs() <= room).sum(dim=-1))
