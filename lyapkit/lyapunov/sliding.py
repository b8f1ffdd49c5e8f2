"""Compute singular values of J_t ... J_{t-H+1}, the product of the last H Jacobians, for many t.

Steps are cut into blocks of H. A window that ends p < H steps into a block is

    J_t ... J_{t-H+1} = B F.

B is the product of the first p Jacobians of the block, and F that of the last H - p of the block before. B grows by one
Jacobian per step. All F of a block are found from its end backwards, at one Jacobian each. So a window costs a few
decompositions instead of H (as in van Herk 1992 and Gil & Werman 1993 for running maxima).

Both parts are `GradedProduct`s: B = U D T, and F = T' D U' from F^T. The outer U do not change singular values. The
middle part is not multiplied out. It starts from D_F, and is multiplied by the well-conditioned T_B T_F', and then by
D_B in n factors diag(exp(log D_B / n)) with small condition numbers. If n is not below p, it is multiplied by the p
Jacobians instead. All these factors are as well conditioned as single Jacobians, so the result is as accurate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor

from lyapkit.lyapunov.graded import GradedProduct

STRETCH = 16.0
"""Largest range of log D in one factor. By measurement, a range of 32 costs no digit yet, and one of 64 loses
directions."""


class SlidingProduct:
    """The product of the last H Jacobians, kept for B trajectories.

    It holds up to 2 H matrices (B, N, N).

    Args:
        batch: Number of trajectories, B.
        size: State size, N.
        horizon: Number of last steps, H.
        recorded: Steps, counted from 1, at which singular values will be asked for.
        device: Device of the Jacobians.
    """

    def __init__(self, batch: int, size: int, *, horizon: int, recorded: Collection[int], device: torch.device) -> None:
        self._identity = GradedProduct.identity(batch, size, device)
        self._horizon = horizon
        self._recorded = frozenset(recorded)
        self._joins = any(step % horizon for step in self._recorded)
        self._done = 0
        self._first = self._identity  # B
        self._block: list[Tensor] = []  # the Jacobians of B
        self._last: dict[int, GradedProduct] = {}  # F^T by p

    def after(self, push: Callable[[Tensor], Tensor]) -> SlidingProduct:
        """Move the product on by one step, in place; ``push`` multiplies a frame (B, N, N) by the step's Jacobian."""
        position = self._done % self._horizon
        if position == 0 and self._done:
            self._last = self._backwards() if self._joins else {}
            self._first, self._block = self._identity, []
        self._last.pop(position, None)  # the part of the window before
        if self._joins:
            jacobian = push(self._identity.u)
            self._block.append(jacobian)
            push = jacobian.matmul
        self._first = self._first.after(push)
        self._done += 1
        return self

    @property
    def block(self) -> GradedProduct:
        """The product of the steps since the block began."""
        return self._first

    def window(self) -> GradedProduct:
        """Return a product with the singular values of the window that ends here."""
        assert self._done >= self._horizon, "the first window is not full"
        position = self._done % self._horizon
        return self._first if position == 0 else self._joined(self._last[position])

    def _backwards(self) -> dict[int, GradedProduct]:
        """Return F^T = J_{p+1}^T ... J_H^T of the block that ends here, for the p that the next block asks for."""
        wanted = [position for position in range(1, self._horizon) if self._done + position in self._recorded]
        found = {}
        transposed = self._identity
        for position in reversed(range(min(wanted, default=self._horizon), self._horizon)):
            transposed = transposed.after(self._block[position].mT.matmul)
            if position in wanted:
                found[position] = replace(transposed, u=self._identity.u)  # U is neither needed nor kept
        return found

    def _joined(self, last: GradedProduct) -> GradedProduct:
        """Return a product with the singular values of B F, given F^T."""
        resolved = torch.minimum(self._first.resolved, last.resolved)
        identity = self._identity.u
        product = GradedProduct(identity, last.log_scale, identity, resolved, self._identity.effort)  # D_F
        log_scale = self._first.log_scale
        kept = torch.isfinite(log_scale)
        top = log_scale.amax(dim=-1, keepdim=True)  # (B, 1)
        below = torch.where(kept, log_scale - top, torch.zeros_like(log_scale))
        factors = max(1, math.ceil(-float(below.amin()) / STRETCH))
        if factors >= len(self._block):
            product = product.after(last.t.mT.matmul)
            for jacobian in self._block:
                product = product.after(jacobian.matmul)
            return product
        product = product.after((self._first.t @ last.t.mT).matmul)
        factor = torch.where(kept, (below / factors).exp(), torch.zeros_like(below)).unsqueeze(-1)
        for _ in range(factors):
            product = product.after(factor.mul)
        return replace(product, log_scale=product.log_scale + top)
