"""One QR decomposition of tangent frames, with what there is to know about its accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.lyapunov.orthonormal import orthonormalise


@dataclass(frozen=True)
class Decomposition:
    """Frames F = Q R of B trajectories.

    Columns are brought to size one before the decomposition, which changes Q not at all and keeps norms from
    overflowing; R_ii carries the sizes again.

    Attributes:
        q: orthonormal, shape (B, N, k).
        log_growth: log |R_ii|, shape (B, k); -inf where nothing is left of a column but rounding,
            |R_ii| <= N eps |column|.
        bound: max |R_ii| / min |R_ii| of the frame with columns of length one, shape (B,): a lower bound of its
            condition number that costs nothing; inf where a direction is annihilated.
        condition: 1-norm condition number of the frame with columns of size one, shape (B,), which bounds the relative
            error of R_ii in units of eps; inf where a direction is annihilated. None where it was not asked for.
        volume_error: sum of log |R_ii| minus the log volume computed without QR, shape (B,); 0 where it is -inf. None
            where it was not asked for.
        finite: whether the frame was finite, shape (B,).
        lost: whether it was not, or a column was annihilated or had left the range in which numbers keep their digits.
    """

    q: Tensor
    log_growth: Tensor
    bound: Tensor
    condition: Tensor | None
    volume_error: Tensor | None
    finite: Tensor
    lost: Tensor


def decompose_sound(frame: Tensor, certify: bool, expected_bound: float = math.inf) -> Decomposition | None:
    """Decompose frames of shape (B, N, k) that nothing is wrong with, which is nearly always so.

    Args:
        frame: the frames.
        certify: compute condition number and volume too, each of which costs as much as the decomposition.
        expected_bound: about what `Decomposition.bound` will be; small ones allow a faster way.

    Returns:
        None where a frame is not finite, has lost a direction or comes near the ends of its type's range; see
        `decompose` for those.
    """
    q, r = orthonormalise(frame, expected_bound)
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    relative = diagonal / r.square().sum(dim=-2).sqrt()  # (B, k): how much of a column the others leave
    limits = torch.finfo(frame.dtype)
    sound = (relative > frame.shape[-2] * limits.eps) & (diagonal > limits.tiny**0.5 / limits.eps)
    sound &= diagonal < limits.max**0.5 * limits.eps  # squares neither under- nor overflow
    if not bool(sound.all()):  # a NaN is not greater than anything
        return None
    log_growth = diagonal.double().log()
    nothing = torch.zeros(frame.shape[0], dtype=torch.bool, device=frame.device)
    condition = volume_error = None
    if certify:
        size = frame.abs().amax(dim=-2, keepdim=True)
        condition = _condition(r / size, nothing.unsqueeze(-1))
        volume_error = _volume_error((frame / size).double(), log_growth - size.squeeze(-2).double().log())
    return Decomposition(q, log_growth, 1 / relative.amin(dim=-1).double(), condition, volume_error, ~nothing, nothing)


def decompose(frame: Tensor) -> Decomposition:
    """Decompose frames of shape (B, N, k) whatever has become of them."""
    finite = torch.isfinite(frame).all(dim=-1).all(dim=-1)  # (B,)
    frame = torch.where(finite[:, None, None], frame, torch.zeros_like(frame))
    limits = torch.finfo(frame.dtype)
    size = frame.abs().amax(dim=-2)  # (B, k)
    columns = frame / torch.where(size == 0, torch.ones_like(size), size).unsqueeze(-2)
    q, r = torch.linalg.qr(columns)  # Householder
    diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
    gone = annihilated(columns, diagonal)
    diagonal = torch.where(gone, torch.zeros_like(diagonal), diagonal)
    log_growth = diagonal.double().log() + torch.where(size == 0, torch.ones_like(size), size).double().log()
    small = (size < limits.tiny / limits.eps) | (size > limits.max * limits.eps)
    condition = _condition(r, gone)
    relative = diagonal / torch.linalg.vector_norm(r, dim=-2).clamp(min=limits.tiny)
    return Decomposition(
        q,
        log_growth,
        torch.where(gone.any(dim=-1), condition, 1 / relative.amin(dim=-1).clamp(min=limits.tiny).double()),
        condition,
        _volume_error(columns.double(), diagonal.double().log()),
        finite,
        ~finite | (gone | small).any(dim=-1),
    )


def annihilated(frame: Tensor, diagonal: Tensor) -> Tensor:
    """Columns of which nothing but rounding noise is left after removing the others: |R_ii| <= N eps |column|.

    Args:
        frame: what was decomposed, shape (..., N, k).
        diagonal: |R_ii|, shape (..., k).

    Returns:
        Shape (..., k), true for columns of zeros too.
    """
    return diagonal <= frame.shape[-2] * torch.finfo(frame.dtype).eps * column_norms(frame)


def column_norms(frame: Tensor) -> Tensor:
    """Lengths of the columns, (..., N, k) -> (..., k), also where their squares would overflow."""
    largest = frame.abs().amax(dim=-2, keepdim=True).clamp(min=torch.finfo(frame.dtype).tiny)
    norms: Tensor = torch.linalg.vector_norm(frame / largest, dim=-2)
    return largest.squeeze(-2) * norms


def _volume_error(columns: Tensor, logs: Tensor) -> Tensor:
    if columns.shape[-1] == columns.shape[-2]:
        log_volume = torch.linalg.slogdet(columns).logabsdet
    else:
        log_volume = torch.linalg.svdvals(columns).log().sum(dim=-1)
    error = logs.sum(dim=-1) - log_volume
    # an annihilated volume is zero on both sides, up to rounding noise that has no logarithm to compare
    return torch.where(torch.isinf(logs.sum(dim=-1)), torch.zeros_like(error), error)


def _condition(r: Tensor, gone: Tensor) -> Tensor:
    singular = gone.any(dim=-1)  # (B,)
    identity = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device).expand_as(r)
    safe = torch.where(singular[:, None, None], identity, r)
    inverse = torch.linalg.solve_triangular(safe, identity, upper=True)
    # sums and maxima: torch.linalg.matrix_norm takes ten times as long for many small matrices
    condition = safe.abs().sum(dim=-2).amax(dim=-1) * inverse.abs().sum(dim=-2).amax(dim=-1)
    return torch.where(singular, torch.full_like(condition, torch.inf), condition).double()
