"""Residuals without interaction between units: R = r I, and R = diag(r) of eq. (17)."""

from __future__ import annotations

import torch
from torch import Tensor

from wcrnn_models.models.residuals.base import Residual, ResidualSpec, check_finite_number, check_finite_tensor
from wcrnn_models.randomness import RandomSource, uniform


class ScalarResidual(Residual):
    """R = r I (section 4.1): every eigenvalue is r. One multiplication a state."""

    r: Tensor

    def __init__(self, size: int, r: float) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("r", torch.tensor(r, dtype=torch.float64))

    def forward(self, state: Tensor) -> Tensor:
        """Compute R x = r x: shape (..., N) to (..., N)."""
        return self.r * state

    def diagonal(self) -> Tensor:
        """Return r, shape ()."""
        return self.r


class DiagonalResidual(Residual):
    """R = diag(r), eq. (17). One elementwise multiplication a state."""

    r: Tensor

    def __init__(self, r: Tensor) -> None:
        super().__init__()
        self.size = len(r)
        self.register_buffer("r", r)

    def forward(self, state: Tensor) -> Tensor:
        """Compute (R x)_i = r_i x_i: shape (..., N) to (..., N)."""
        return self.r * state

    def diagonal(self) -> Tensor:
        """Return r, shape (N,)."""
        return self.r


def scalar(r: float) -> ResidualSpec:
    """Make R = r I: subcritical for r < 1, critical for r = 1, supercritical for r > 1 (section 4.1).

    Args:
        r: Residual connection strength; the paper varies it in [0.91, 1.02].

    Raises:
        ValueError: If ``r`` is not finite.
    """
    value = check_finite_number("r", r)
    return ResidualSpec(f"scalar(r={value:g})", lambda size: ScalarResidual(size, value))


def diagonal(r: Tensor) -> ResidualSpec:
    """Make R = diag(r) with the given entries, eq. (17).

    Args:
        r: One entry per unit, shape (N,).

    Raises:
        ValueError: If ``r`` is not a finite vector, or, when it is built, does not have N entries.
    """
    entries = check_finite_tensor("r", r)
    if entries.ndim != 1:
        raise ValueError(f"r must be a vector with one entry per unit, got shape {tuple(r.shape)}.")

    def construct(size: int) -> Residual:
        if len(entries) != size:
            raise ValueError(
                f"a diagonal residual for {size} units needs {size} entries, got {len(entries)}; "
                "give as many entries as hidden_size."
            )
        return DiagonalResidual(entries.clone())

    return ResidualSpec(f"diagonal({len(entries)} entries)", construct)


def heterogeneous(r0: float, delta_r: float, rng: RandomSource = None) -> ResidualSpec:
    """Make R = diag(r) with r_i ~ U(r0 - delta_r/2, r0 + delta_r/2), eq. (17) and section 4.3.

    Args:
        r0: Centre, the baseline distance to the edge of chaos.
        delta_r: Width of the interval, >= 0.
        rng: Where the entries are drawn from when the residual is built.

    Raises:
        ValueError: If ``r0`` or ``delta_r`` is not finite, or ``delta_r`` is negative.
    """
    centre, width = check_finite_number("r0", r0), check_finite_number("delta_r", delta_r)
    if width < 0:
        raise ValueError(f"delta_r is the width of an interval and must be >= 0, got {width}.")

    def construct(size: int) -> Residual:
        return DiagonalResidual(uniform((size,), centre - width / 2, centre + width / 2, rng))

    return ResidualSpec(f"heterogeneous(r0={centre:g}, delta_r={width:g})", construct)
