"""The informed heterogeneous network of section 4.3: its residual, and the coupling of each unit."""

from __future__ import annotations

import math

from torch import Tensor

from wcrnn_models.models.residuals.base import Residual, ResidualSpec
from wcrnn_models.models.residuals.diagonal import DiagonalResidual
from wcrnn_models.models.residuals.product import ProductResidual
from wcrnn_models.models.residuals.rotation import RotationResidual, pairs
from wcrnn_models.randomness import RandomSource, as_generator, uniform

MAGNITUDES = (0.99, 1.0)
ANGLES = (0.0, math.pi / 4)
COUPLINGS = (0.005, 0.05)
"""Intervals of r_i, phi_i (radians per step) and gamma_i (section 4.3)."""


def informed(rng: RandomSource = None) -> ResidualSpec:
    """Make R = T(phi) diag(r) with r_i ~ U(0.99, 1) per unit and phi_i ~ U(0, pi/4) per pair of units (section 4.3).

    The product of a rotation (16) and a diagonal (17), "informed" by the best homogeneous networks. The paper's network
    also has a coupling of its own for every unit, `informed_coupling`.

    Args:
        rng: Where the numbers are drawn from when the residual is built.

    Raises:
        ValueError: If N is odd; raised when the residual is built.

    Example:
        >>> from wcrnn_models import WCRNN, residuals
        >>> model = WCRNN(
        ...     1, 100, 10, residual=residuals.informed(rng=0), coupling=residuals.informed_coupling(100, rng=1), rng=2
        ... )
        >>> float(model.residual.log_magnitudes()[0]) < 0  # subcritical: every |eigenvalue| is below 1
        True
    """

    def construct(size: int) -> Residual:
        generator = as_generator(rng)  # once: a seed must not give both factors the same numbers
        magnitudes = uniform((size,), *MAGNITUDES, generator)
        angles = uniform((pairs(size),), *ANGLES, generator)
        return ProductResidual([RotationResidual(angles, 1.0), DiagonalResidual(magnitudes)])

    return ResidualSpec("informed", construct)


def informed_coupling(size: int, rng: RandomSource = None) -> Tensor:
    """Draw gamma_i ~ U(0.005, 0.05), one for every unit (section 4.3), float64, shape (N,).

    Args:
        size: N.
        rng: Where the numbers are drawn from.
    """
    return uniform((size,), *COUPLINGS, rng)
