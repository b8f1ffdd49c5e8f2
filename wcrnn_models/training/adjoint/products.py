"""Multiply K fixed residuals with K batches of states, into given buffers.

A product is bound to its buffers once and then run at every iteration, so a step of a long sequence costs one or two
calls into PyTorch and allocates nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from wcrnn_models.models.residuals import Residual

Bound = Callable[[], object]
"""A product with its buffers; calling it fills the target."""


class StackedProduct(ABC):
    """Products with R_1, ..., R_K, one for each batch of states of shape (K, B, N).

    Args:
        residuals: The K residuals; `refresh` reads their present numbers.
    """

    def __init__(self, residuals: Sequence[Residual]) -> None:
        self.residuals = tuple(residuals)

    @abstractmethod
    def refresh(self) -> None:
        """Copy the present numbers of the residuals; functions that were bound before use them, too."""

    @abstractmethod
    def bind(self, source: Tensor, target: Tensor, *, accumulate: bool) -> Bound:
        """Return a function for ``target = R source``, or ``target += R source``; both (K, B, N), unit last stride."""

    @abstractmethod
    def bind_adjoint(self, source: Tensor, target: Tensor) -> Bound:
        """Return a function that computes ``target = R^T source``; (K, B, N), and the two may be the same tensor."""


class ElementwiseProduct(StackedProduct):
    """Products with R_k that act on every unit alone."""

    def __init__(self, residuals: Sequence[Residual]) -> None:
        super().__init__(residuals)
        self.factor = torch.stack([self._entries(residual) for residual in self.residuals])  # (K, 1, N)

    def refresh(self) -> None:
        """Copy the diagonals."""
        for row, residual in zip(self.factor, self.residuals, strict=True):
            row.copy_(self._entries(residual))

    def bind(self, source: Tensor, target: Tensor, *, accumulate: bool) -> Bound:
        """Return one elementwise operation."""
        if accumulate:
            return partial(target.addcmul_, self.factor, source)
        return partial(torch.mul, source, self.factor, out=target)

    def bind_adjoint(self, source: Tensor, target: Tensor) -> Bound:
        """Return one elementwise operation."""
        return partial(torch.mul, source, self.factor, out=target)

    @staticmethod
    def _entries(residual: Residual) -> Tensor:
        entries = residual.diagonal()
        assert entries is not None
        return entries.expand(1, residual.size)


class RotationProduct(StackedProduct):
    """Products with R_k of scaled 2 x 2 rotations: a pair of units is one complex number, multiplied by another one."""

    def __init__(self, residuals: Sequence[Residual]) -> None:
        super().__init__(residuals)
        self.factor = torch.stack([self._factors(residual) for residual in self.residuals])  # (K, 1, N/2)
        self.conjugate = self.factor.conj().resolve_conj()

    def refresh(self) -> None:
        """Copy the complex numbers."""
        for row, residual in zip(self.factor, self.residuals, strict=True):
            row.copy_(self._factors(residual))
        self.conjugate.copy_(self.factor.conj())

    def bind(self, source: Tensor, target: Tensor, *, accumulate: bool) -> Bound:
        """Return one complex elementwise operation."""
        source, target = self._pairs(source), self._pairs(target)
        if accumulate:
            return partial(target.addcmul_, self.factor, source)
        return partial(torch.mul, source, self.factor, out=target)

    def bind_adjoint(self, source: Tensor, target: Tensor) -> Bound:
        """Return one complex elementwise operation: the transpose turns in the opposite direction."""
        return partial(torch.mul, self._pairs(source), self.conjugate, out=self._pairs(target))

    @staticmethod
    def _pairs(state: Tensor) -> Tensor:
        return torch.view_as_complex(state.view(*state.shape[:-1], -1, 2))

    @staticmethod
    def _factors(residual: Residual) -> Tensor:
        entries = residual.rotation_entries()
        assert entries is not None
        return torch.complex(*entries).unsqueeze(0)


class DenseProduct(StackedProduct):
    """Products with any R_k, by its matrix."""

    def __init__(self, residuals: Sequence[Residual]) -> None:
        super().__init__(residuals)
        self.matrices = torch.stack([residual.matrix() for residual in self.residuals])  # (K, N, N)
        self.transposed = self.matrices.transpose(1, 2)

    def refresh(self) -> None:
        """Copy the matrices."""
        for entries, residual in zip(self.matrices, self.residuals, strict=True):
            entries.copy_(residual.matrix())

    def bind(self, source: Tensor, target: Tensor, *, accumulate: bool) -> Bound:
        """Return one matrix product."""
        return partial(target.baddbmm_, source, self.transposed, beta=1 if accumulate else 0)

    def bind_adjoint(self, source: Tensor, target: Tensor) -> Bound:
        """Return one matrix product, followed by a copy if it works in place."""
        if source is not target:
            return partial(torch.bmm, source, self.matrices, out=target)
        scratch = torch.empty_like(source)
        return partial(_run, (partial(scratch.copy_, source), partial(torch.bmm, scratch, self.matrices, out=target)))


class ChainedProduct(StackedProduct):
    """Products with R_k = R_k1 R_k2 ..., the last factor first."""

    def __init__(self, residuals: Sequence[Residual]) -> None:
        super().__init__(residuals)
        chains = [residual.chain() for residual in self.residuals]
        self.factors = [stacked_product(position) for position in zip(*chains, strict=True)]
        self._between: dict[tuple[int, torch.Size], Tensor] = {}

    def refresh(self) -> None:
        """Refresh every factor."""
        for factor in self.factors:
            factor.refresh()

    def bind(self, source: Tensor, target: Tensor, *, accumulate: bool) -> Bound:
        """Apply one factor after the other, over buffers that all steps share."""
        steps: list[Bound] = []
        for position in range(len(self.factors) - 1, 0, -1):
            key = position, source.shape
            if key not in self._between:
                self._between[key] = torch.empty_like(source, memory_format=torch.contiguous_format)
            steps.append(self.factors[position].bind(source, self._between[key], accumulate=False))
            source = self._between[key]
        steps.append(self.factors[0].bind(source, target, accumulate=accumulate))
        return partial(_run, tuple(steps))

    def bind_adjoint(self, source: Tensor, target: Tensor) -> Bound:
        """Return the transposes in the opposite order, all but the first in place."""
        first, *others = self.factors
        steps = first.bind_adjoint(source, target), *(factor.bind_adjoint(target, target) for factor in others)
        return partial(_run, steps)


def stacked_product(residuals: Sequence[Residual]) -> StackedProduct:
    """Return the fastest product that fits all the residuals, which have the same size."""
    if all(residual.diagonal() is not None for residual in residuals):
        return ElementwiseProduct(residuals)
    if all(residual.rotation_entries() is not None for residual in residuals):
        return RotationProduct(residuals)
    lengths = {len(residual.chain()) for residual in residuals}
    if len(lengths) == 1 and lengths != {1}:
        return ChainedProduct(residuals)
    return DenseProduct(residuals)


def _run(steps: tuple[Bound, ...]) -> None:
    for step in steps:
        step()
