"""Decompose frames, F = Q R, and choose the method."""

from __future__ import annotations

import torch
from torch import Tensor

FEW_COLUMNS = 3
MANY_FRAMES = 256
"""Number of frames with few columns from which they are decomposed together: LAPACK would be called for every frame."""

FEW_ROWS = 8
"""Largest number of terms that are added one by one, since setting up a reduction costs more."""

WELL_CONDITIONED = 10.0
"""Largest max |R_ii| / min |R_ii| (columns of length one) at which one pass of Cholesky QR is accepted.

Chosen by measurement: up to this ratio, Q is orthonormal and |R_ii| exact to 1e-12. Both errors grow with its
square."""


def orthonormalise(frame: Tensor, expected_bound: float) -> tuple[Tensor, Tensor]:
    """Return Q and R of frames of shape (B, N, k).

    Many frames of few columns are decomposed by Gram-Schmidt. Well-conditioned frames in float64 take one pass of
    Cholesky QR, in 0.6 of the time of Householder. On an accelerator, whose QR goes through a batch one by one, they
    take two passes. All others are decomposed by Householder reflections.

    Args:
        frame: Frames, shape (B, N, k).
        expected_bound: Estimate of max |R_ii| / min |R_ii| of the frames with columns of length one.

    Returns:
        Q, shape (B, N, k), and R, upper triangular, shape (B, k, k).
    """
    batch, _, k = frame.shape
    if k <= FEW_COLUMNS and batch >= MANY_FRAMES:
        return gram_schmidt(frame)
    accelerated = frame.device.type != "cpu" and batch > 1
    if frame.dtype == torch.float64 and (accelerated or expected_bound <= WELL_CONDITIONED):
        found = cholesky_qr(frame, passes=2 if accelerated else 1)
        if found is not None:
            return found
    q, r = torch.linalg.qr(frame)  # Householder, this scales columns by itself
    return q, r


def cholesky_qr(frame: Tensor, passes: int) -> tuple[Tensor, Tensor] | None:
    """Decompose a frame through the Cholesky factor of F^T F.

    One pass loses orthogonality as eps times the squared condition number; a second pass (CholeskyQR2, Fukaya et al.
    2014) brings it to rounding for condition numbers up to 1e7.

    Args:
        frame: Frames, shape (B, N, k), float64.
        passes: Number of passes, 1 or 2.

    Returns:
        Q, shape (B, N, k), and R with a positive diagonal, shape (B, k, k); None if F^T F is not positive definite or
        the condition is too large for so many passes.
    """
    rows = frame.mT  # (B, k, N)
    r = None
    for _ in range(passes):
        lower, failed = torch.linalg.cholesky_ex(rows @ rows.mT)
        relative = lower.diagonal(dim1=-2, dim2=-1) / lower.square().sum(dim=-1).sqrt()
        limit = WELL_CONDITIONED if passes == 1 else 1e6
        if not bool((failed == 0).all() & (relative * limit >= 1).all()):
            return None
        rows = torch.linalg.solve_triangular(lower, rows, upper=False)
        r = lower.mT if r is None else lower.mT @ r
    assert r is not None, "there is at least one pass"
    return rows.mT, r


def gram_schmidt(frame: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose all frames at once by Gram-Schmidt, done twice for every column.

    Once is not enough, but twice is (Giraud et al. 2005): if no column lies in the span of the others, Q is orthonormal
    to rounding, and R_ii is as accurate as that of Householder.

    Args:
        frame: Frames, shape (B, N, k).

    Returns:
        Q, shape (B, N, k), and R with a positive diagonal, shape (B, k, k).
    """
    work = frame.permute(2, 1, 0).clone(memory_format=torch.contiguous_format)  # (k, N, B): trajectories side by side
    columns = work.unbind()
    r = work.new_zeros(len(columns), len(columns), frame.shape[0])  # (k, k, B)
    overlap, product = r.new_empty(frame.shape[0]), torch.empty_like(columns[0])
    for position, column in enumerate(columns):
        for _ in range(2 if position else 0):
            for row, direction in enumerate(columns[:position]):
                _dot(direction, column, product, overlap)
                column -= torch.mul(direction, overlap, out=product)
                r[row, position].add_(overlap)
        length = _dot(column, column, product, r[position, position]).sqrt_()
        column /= length
    return work.permute(2, 1, 0), r.permute(2, 0, 1)


def _dot(one: Tensor, other: Tensor, product: Tensor, result: Tensor) -> Tensor:
    """Write inner products over the first dimension, (N, B) -> (B,), into ``result``."""
    torch.mul(one, other, out=product)
    if len(product) > FEW_ROWS:
        return torch.sum(product, dim=0, out=result)
    result.copy_(product[0])
    for row in product[1:]:
        result += row
    return result
