"""Residual maps, and the recipes that build them at a given size."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Residual(nn.Module, ABC):
    """A fixed linear map R: R^N -> R^N, the residual of eq. (11).

    Its numbers are buffers: they move and are cast with the network, are saved in its ``state_dict``, and are
    not trained. `forward` is out of place, so it works under `torch.func` and can be differentiated twice.

    A subclass needs no more than `forward` and `size`. One whose R has a simple structure says so by `diagonal`,
    `rotation_entries` or `chain`; derivatives and training kernels then multiply by fewer numbers.

    Attributes:
        size: N.
    """

    size: int

    @abstractmethod
    def forward(self, state: Tensor) -> Tensor:
        """Return R x for every state x: shape (..., N) to (..., N)."""

    def diagonal(self) -> Tensor | None:
        """Return the entries of R if it acts on every unit alone, shape () or (N,), else None."""
        return None

    def rotation_entries(self) -> tuple[Tensor, Tensor] | None:
        """Return a and b, shape (N/2,), if R consists of blocks [[a_i, -b_i], [b_i, a_i]] on its diagonal, else None.

        Such a block multiplies the units 2i and 2i + 1, as a complex number, by a_i + j b_i.
        """
        return None

    def chain(self) -> tuple[Residual, ...]:
        """Return R_1, ..., R_k with R = R_1 ... R_k; the residual itself if it is no product."""
        return (self,)

    def eigenvalues(self) -> Tensor:
        """Return the eigenvalues of R with multiplicity, complex128, shape (N,), in no particular order."""
        if (entries := self.diagonal()) is not None:
            return entries.to(torch.complex128).expand(self.size).clone()
        if (blocks := self.rotation_entries()) is not None:
            upper = torch.complex(*(part.to(torch.float64) for part in blocks))
            return torch.stack((upper, upper.conj()), dim=-1).flatten()
        eigenvalues: Tensor = torch.linalg.eigvals(copy.deepcopy(self).double().matrix())
        return eigenvalues

    def matrix(self) -> Tensor:
        """Return R as a dense matrix, shape (N, N), in the type of the buffers: row i of R^T is R e_i."""
        buffer = next(self.buffers())
        transposed: Tensor = self(torch.eye(self.size, dtype=buffer.dtype, device=buffer.device))
        return transposed.T.contiguous()

    def log_magnitudes(self) -> Tensor:
        """Return log|eigenvalue| of R, float64, shape (N,), sorted descending; -inf for a zero eigenvalue.

        By eq. (13) they are the Lyapunov exponents, in nats per step, in the limit of weak coupling when R is
        normal or, more generally, diagonalisable.
        """
        return self.eigenvalues().abs().log().sort(descending=True).values


@dataclass(frozen=True)
class ResidualSpec:
    """A recipe for a residual of any size.

    Attributes:
        description: What it is, such as ``scalar(r=0.995)``.
        construct: Makes the residual of the given size with float64 buffers.
    """

    description: str
    construct: Callable[[int], Residual]

    def build(self, size: int, *, dtype: torch.dtype | None = None) -> Residual:
        """Return the residual for N = ``size`` units.

        The numbers are computed in float64 and then rounded to ``dtype`` (default: PyTorch's default type).

        Raises:
            ValueError: If ``size`` is not positive or does not fit the recipe, or a number is too large for ``dtype``.
        """
        if size < 1:
            raise ValueError(f"the size of a residual must be at least 1, got {size}.")
        return rounded(self.construct(size), torch.get_default_dtype() if dtype is None else dtype)


def rounded(residual: Residual, dtype: torch.dtype) -> Residual:
    """Return the residual with its numbers rounded to ``dtype``, in place.

    Raises:
        ValueError: If one of them is too large for it.
    """
    for name, buffer in residual.named_buffers():
        check_fits(name, buffer, dtype)
    return residual.to(dtype)


def check_fits(name: str, value: Tensor, dtype: torch.dtype) -> None:
    """Refuse a number that would become infinite.

    Raises:
        ValueError: If an entry is larger than all numbers of ``dtype``.
    """
    if not bool(value.to(dtype).isfinite().all()):
        largest = float(value.abs().max())
        raise ValueError(
            f"{name} must not exceed {torch.finfo(dtype).max:.9g}, the largest number of {dtype}, got {largest}."
        )


def check_finite_number(name: str, value: float) -> float:
    """Return ``value`` as a float.

    Raises:
        TypeError: If it is not a real number.
        ValueError: If it is infinite or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)


def check_finite_tensor(name: str, value: Tensor) -> Tensor:
    """Return ``value`` detached and as float64 on the CPU.

    Raises:
        TypeError: If it is not a real tensor.
        ValueError: If an entry is infinite or not a number.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor.")
    if value.is_complex():
        raise TypeError(
            f"{name} must be real, got {value.dtype}; a complex pair is a 2 x 2 block, see residuals.rotation."
        )
    exact = value.detach().to(device="cpu", dtype=torch.float64, copy=True)
    if not bool(exact.isfinite().all()):
        position = tuple(int(i) for i in (~exact.isfinite()).nonzero()[0])
        raise ValueError(f"{name} must be finite, got {float(exact[position])} at index {position}.")
    return exact
