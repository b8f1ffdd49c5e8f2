"""Rotational residuals: R is block diagonal with 2 x 2 rotations, eq. (16)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from wcrnn_models.errors import suggestion
from wcrnn_models.models.residuals.base import Residual, ResidualSpec, check_finite_number, check_finite_tensor
from wcrnn_models.randomness import RandomSource, uniform


class RotationResidual(Residual):
    """R = r diag(T_1, ..., T_{N/2}) with T_i = [[cos phi_i, -sin phi_i], [sin phi_i, cos phi_i]], eq. (16).

    Block i acts on the units 2i and 2i + 1 (counted from 0); its eigenvalues are r exp(+-j phi_i). The
    product is taken block by block, never as a dense N x N product.
    """

    scaled_cosine: Tensor  # r cos(phi), shape (N/2,)
    scaled_sine: Tensor  # r sin(phi), shape (N/2,)

    def __init__(self, angles: Tensor, r: float) -> None:
        super().__init__()
        self.size = 2 * len(angles)
        self.register_buffer("scaled_cosine", r * torch.cos(angles))
        self.register_buffer("scaled_sine", r * torch.sin(angles))

    def forward(self, state: Tensor) -> Tensor:
        """Rotate every pair of units and scale by r: shape (..., N) to (..., N)."""
        first, second = state.reshape(*state.shape[:-1], self.size // 2, 2).unbind(-1)  # (..., N/2) each
        rotated_first = self.scaled_cosine * first - self.scaled_sine * second
        rotated_second = self.scaled_sine * first + self.scaled_cosine * second
        return torch.stack((rotated_first, rotated_second), dim=-1).flatten(-2)

    def rotation_entries(self) -> tuple[Tensor, Tensor]:
        """Return r cos(phi) and r sin(phi)."""
        return self.scaled_cosine, self.scaled_sine


def rotation(phi: float | Tensor | Literal["random"], r: float = 1.0, rng: RandomSource = None) -> ResidualSpec:
    """Make R = r times block-diagonal rotations by the angular frequencies phi, eq. (16).

    Args:
        phi: One angle for all blocks (homogeneous), N/2 angles, or ``"random"`` for phi_i ~ U(0, 2 pi), in
            radians per step. The characteristic frequency of sMNIST is 2 pi / 28 (section 4.2).
        r: Magnitude of all eigenvalues; 1 gives the orthonormal matrices of the paper.
        rng: Where random angles are drawn from when the residual is built.

    Raises:
        ValueError: If an argument is not finite or of the wrong shape, or, when it is built, N is odd or does
            not fit the number of angles.
    """
    scale = check_finite_number("r", r)
    if isinstance(phi, str):
        if phi != "random":
            raise ValueError(
                f"phi must be an angle, a tensor of N/2 angles, or 'random', got {phi!r}." + suggestion(phi, ["random"])
            )
        return ResidualSpec(
            f"rotation(phi=random, r={scale:g})",
            lambda size: RotationResidual(uniform((pairs(size),), 0.0, 2 * math.pi, rng), scale),
        )
    if isinstance(phi, Tensor) and phi.ndim > 0:
        angles = check_finite_tensor("phi", phi)
        if angles.ndim != 1:
            raise ValueError(f"phi must be a vector of N/2 angles, got shape {tuple(phi.shape)}.")

        def construct(size: int) -> Residual:
            if len(angles) != pairs(size):
                raise ValueError(
                    f"a rotation of {size} units needs {size // 2} angles, one per pair of units, got {len(angles)}."
                )
            return RotationResidual(angles, scale)

        return ResidualSpec(f"rotation({len(angles)} angles, r={scale:g})", construct)
    angle = check_finite_number("phi", float(phi) if isinstance(phi, Tensor) else phi)
    return ResidualSpec(
        f"rotation(phi={angle:g}, r={scale:g})",
        lambda size: RotationResidual(torch.full((pairs(size),), angle, dtype=torch.float64), scale),
    )


def pairs(size: int) -> int:
    """Return the number of 2 x 2 blocks of N = ``size`` units.

    Raises:
        ValueError: If ``size`` is odd.
    """
    if size % 2:
        raise ValueError(
            f"a rotation acts on pairs of units and needs an even hidden_size, got {size}; use {size + 1}."
        )
    return size // 2
