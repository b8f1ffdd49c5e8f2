"""Compute singular values of long matrix products, even if the product itself underflows or overflows.

A product V_t = J_t ... J_1 is kept as V_t = U D T. U is orthonormal, D is diagonal and kept as logarithms, and T is
well conditioned. This is the stratification of quantum Monte Carlo (Loh et al. 1989), with the columns sorted before
each QR (Tomas et al. 2012). The product itself would lose every singular value below eps times the largest. A
contracting network gets there within a few dozen steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dgejsv
from torch import Tensor

from lyapkit.lyapunov.decomposition import suspicion
from lyapkit.lyapunov.one_step import Effort, grow_product

NARROW = 8.0
"""Range of log D below which a plain SVD is used. It loses at most eps exp(8), about 7e-13 relative."""

WIDE = 600.0
"""Range of log D that float64 can hold together with the entries of T. Beyond it, the matrix is cut at its gaps."""


@dataclass(frozen=True)
class GradedProduct:
    """Product V = U diag(exp(log_scale)) T for B matrices at once.

    Attributes:
        u: Orthonormal matrices U, shape (B, N, N).
        log_scale: Logarithms of D, descending up to the sorting of the last step, -inf if the product is singular;
            shape (B, N).
        t: Well-conditioned matrices T, shape (B, N, N).
        resolved: Number of leading singular values whose size float64 can resolve, shape (B,).
        effort: Effort that the run may still spend on steps in doubt.
    """

    u: Tensor
    log_scale: Tensor
    t: Tensor
    resolved: Tensor
    effort: Effort = field(default_factory=Effort)

    @classmethod
    def identity(cls, batch: int, size: int, device: torch.device) -> GradedProduct:
        """Return V_0 = I, in float64."""
        eye = torch.eye(size, dtype=torch.float64, device=device).repeat(batch, 1, 1)
        logs = torch.zeros(batch, size, dtype=torch.float64, device=device)
        return cls(eye, logs, eye, torch.full((batch,), size, device=device))

    def after(self, push: Callable[[Tensor], Tensor]) -> GradedProduct:
        """Return J V; ``push`` multiplies a frame (B, N, N) by J from the left.

        If little is left of a column beside the others, it may be rounding noise.
        `lyapkit.lyapunov.one_step.grow_product` repeats such steps, and finds out how small the rest is, or that it is
        zero.
        """
        size = self.u.shape[-1]
        columns = push(self.u)
        largest = columns.abs().amax(dim=-2)  # (B, N); taken out first, so that norms do not overflow
        columns = columns / torch.where(largest == 0, torch.ones_like(largest), largest).unsqueeze(-2)
        norms = torch.linalg.vector_norm(columns, dim=-2)
        scale = self.log_scale + largest.log()
        order = (scale + norms.log()).argsort(dim=-1, descending=True, stable=True)
        columns = columns.gather(-1, order.unsqueeze(-2).expand_as(columns))
        norms = norms.gather(-1, order)
        scale = scale.gather(-1, order)
        t = self.t.gather(-2, order.unsqueeze(-1).expand_as(self.t))
        q, r = torch.linalg.qr(columns)
        diagonal = r.diagonal(dim1=-2, dim2=-1).abs()
        gone = (diagonal == 0) | torch.isinf(scale)
        suspect = (diagonal <= suspicion(torch.float64, size) * norms) & ~torch.isinf(scale)
        doubted = suspect.any(dim=-1)  # (B,)
        safe = torch.where(gone, torch.ones_like(diagonal), diagonal)
        finite_scale = torch.where(gone, torch.zeros_like(scale), scale)
        # D_new^-1 R D T: row i carries exp(d_j - d_i), bounded because the columns are sorted
        ratio = (scale.unsqueeze(-2) - finite_scale.unsqueeze(-1)).triu().exp()
        mixing = torch.where(gone.unsqueeze(-1), torch.zeros_like(r), r.triu() * ratio / safe.unsqueeze(-1))
        mixing = mixing + torch.diag_embed(gone.double())  # an annihilated direction keeps a well-conditioned row
        log_scale = torch.where(gone, torch.full_like(scale, -torch.inf), scale + safe.log())
        result = GradedProduct(q, log_scale, mixing @ t, self.resolved, self.effort)
        return self._settled(result, push, doubted) if bool(doubted.any()) else result

    def _settled(self, found: GradedProduct, push: Callable[[Tensor], Tensor], doubted: Tensor) -> GradedProduct:
        """Return the product with the step repeated for some trajectories."""
        jacobians = push(torch.eye(self.u.shape[-1], device="cpu").to(self.u).expand_as(self.u).contiguous())
        u, log_scale, t, resolved = found.u.clone(), found.log_scale.clone(), found.t.clone(), self.resolved.clone()
        for index in (doubted & torch.isfinite(jacobians).all(dim=-1).all(dim=-1)).nonzero().flatten().tolist():
            alive = torch.isfinite(self.log_scale[index])
            frame, scales = self.u[index][:, alive].cpu().numpy(), self.log_scale[index][alive].cpu().numpy()
            grown = grow_product(jacobians[index].cpu().numpy(), frame, scales, self.effort)
            count = len(grown.log_scale)
            kept = torch.from_numpy(grown.frame).to(u)
            outside = torch.eye(len(u[index]), device="cpu").to(u) - kept @ kept.mT
            rest = torch.linalg.svd(outside).U[:, : len(u[index]) - count]  # any basis of the rest
            u[index] = torch.cat((kept, rest), dim=-1)
            log_scale[index] = -torch.inf
            log_scale[index, :count] = torch.from_numpy(grown.log_scale).to(u)
            t[index, :count] = torch.from_numpy(grown.mixing).to(u) @ self.t[index][alive]
            if grown.resolved < int(alive.sum()):
                resolved[index] = min(int(resolved[index]), grown.resolved)
        return GradedProduct(u, log_scale, t, resolved, self.effort)

    @property
    def block(self) -> GradedProduct:
        """The whole product, which contains all steps."""
        return self

    def window(self) -> GradedProduct:
        """Return the whole product, since its window contains all steps."""
        return self

    def log_singular_values(self) -> Tensor:
        """Return the logarithms of the singular values of V, descending, shape (B, N); -inf for zero."""
        span = self.log_scale.amax(dim=-1) - self.log_scale.amin(dim=-1)  # inf when singular
        if bool((span <= NARROW).all()):
            top = self.log_scale.amax(dim=-1, keepdim=True)
            scaled = (self.log_scale - top).exp().unsqueeze(-1) * self.t
            values: Tensor = torch.linalg.svdvals(scaled)
            return values.log() + top
        rows = [
            _graded_log_singular_values(scale, t)
            for scale, t in zip(self.log_scale.cpu().numpy(), self.t.cpu().numpy(), strict=True)
        ]
        return torch.as_tensor(np.stack(rows), device=self.log_scale.device)


def _graded_log_singular_values(log_scale: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log singular values of diag(exp(log_scale)) T to high relative accuracy."""
    result = np.full(log_scale.shape, -np.inf)
    order = np.argsort(-log_scale, kind="stable")
    order = order[np.isfinite(log_scale[order])]
    if order.size == 0:
        return result
    scale, columns = log_scale[order], t[order].T  # the columns of T' D are graded
    if scale[0] - scale[-1] <= WIDE:
        values = _jacobi(scale, columns)
    else:
        scale, triangle = _decouple(scale, columns)
        values = np.concatenate([_jacobi(scale[part], triangle[part, part]) for part in _blocks(scale)])
    result[: order.size] = np.sort(values)[::-1]
    return result


def _jacobi(scale: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log singular values of columns diag(exp(scale)) by one-sided Jacobi (LAPACK gejsv).

    One-sided Jacobi finds every singular value of a column-scaled well-conditioned matrix to a relative
    accuracy that does not depend on the scaling (Demmel & Veselic 1992).
    """
    if scale.size == 1:  # gejsv does not set its scaling factors for one column
        single: NDArray[np.float64] = np.log(np.linalg.norm(columns, axis=0)) + scale
        return single
    top = scale.max()
    sva, _, _, workout, _, info = dgejsv(columns * np.exp(scale - top), joba=0, jobu=3, jobv=3, jobr=0, jobt=0)
    assert info == 0, f"gejsv did not converge (info {info})"
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(sva[: scale.size]) + np.log(workout[0] / workout[1]) + top
    return logs


def _decouple(
    scale: NDArray[np.float64], columns: NDArray[np.float64], sweeps: int = 4
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sweep columns D by QR; each sweep shrinks the coupling across a gap g of log D by exp(-g)."""
    triangle = np.linalg.qr(columns).R
    for _ in range(sweeps):
        # (R D)' = D R' = (D R' D^-1) D, lower triangular and bounded; its QR gives the next R D
        ratio = np.exp(np.minimum(scale[:, None] - scale[None, :], 0.0))
        triangle = np.linalg.qr(np.tril(triangle.T * ratio)).R
    return scale, triangle


def _blocks(scale: NDArray[np.float64]) -> list[slice]:
    """Cut at the widest gaps until every block spans at most `WIDE`."""
    pending, blocks = [slice(0, scale.size)], []
    while pending:
        part = pending.pop()
        if scale[part][0] - scale[part][-1] <= WIDE:
            blocks.append(part)
        else:
            cut = part.start + 1 + int(np.argmax(-np.diff(scale[part])))
            pending += [slice(part.start, cut), slice(cut, part.stop)]
    return blocks
