"""What a residual map answers, and the recipe that builds one at a given size."""

from __future__ import annotations

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
    """

    size: int

    @abstractmethod
    def forward(self, state: Tensor) -> Tensor:
        """R x for every state x: shape (..., N) to (..., N)."""

    @abstractmethod
    def eigenvalues(self) -> Tensor:
        """The eigenvalues of R with multiplicity, complex128, shape (N,), in no particular order."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """R as a dense matrix, shape (N, N), in the type of the buffers."""

    def log_magnitudes(self) -> Tensor:
        """log|eigenvalue| of R, float64, shape (N,), sorted descending; -inf for a zero eigenvalue.

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
        """The residual for N = ``size`` units.

        The numbers are computed in float64 and then rounded to ``dtype`` (default: PyTorch's default type).

        Raises:
            ValueError: If ``size`` is not positive or does not fit the recipe, or a number is too large for ``dtype``.
        """
        if size < 1:
            raise ValueError(f"the size of a residual must be at least 1, got {size}")
        return rounded(self.construct(size), torch.get_default_dtype() if dtype is None else dtype)


def rounded(residual: Residual, dtype: torch.dtype) -> Residual:
    """The residual with its numbers rounded to ``dtype``, in place.

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
            f"{name} must not exceed {torch.finfo(dtype).max:.9g}, the largest number of {dtype}, got {largest}"
        )


def check_finite_number(name: str, value: float) -> float:
    """``value`` as a float.

    Raises:
        TypeError: If it is not a real number.
        ValueError: If it is infinite or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    return float(value)


def check_finite_tensor(name: str, value: Tensor) -> Tensor:
    """``value`` detached and as float64 on the CPU.

    Raises:
        TypeError: If it is not a real tensor.
        ValueError: If an entry is infinite or not a number.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}; use torch.as_tensor")
    if value.is_complex():
        raise TypeError(
            f"{name} must be real, got {value.dtype}; a complex pair is a 2 x 2 block, see residuals.rotation"
        )
    exact = value.detach().to(device="cpu", dtype=torch.float64, copy=True)
    if not bool(exact.isfinite().all()):
        position = tuple(int(i) for i in (~exact.isfinite()).nonzero()[0])
        raise ValueError(f"{name} must be finite, got {float(exact[position])} at index {position}")
    return exact
