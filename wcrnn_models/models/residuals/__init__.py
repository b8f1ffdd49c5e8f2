"""Fixed linear residual maps R of a WCRNN, whose eigenvalues set its memory (eq. 13).

Factories return a `ResidualSpec`, which a `wcrnn_models.WCRNN` builds at its own size:

    WCRNN(1, 100, 10, residual=residuals.scalar(0.995))
"""

from __future__ import annotations

from wcrnn_models.models.residuals.base import Residual, ResidualSpec
from wcrnn_models.models.residuals.dense import DenseResidual, dense
from wcrnn_models.models.residuals.diagonal import DiagonalResidual, ScalarResidual, diagonal, heterogeneous, scalar
from wcrnn_models.models.residuals.informed import informed, informed_coupling
from wcrnn_models.models.residuals.orthogonal import orthogonal
from wcrnn_models.models.residuals.product import ProductResidual, product
from wcrnn_models.models.residuals.rotation import RotationResidual, rotation

__all__ = [
    "DenseResidual",
    "DiagonalResidual",
    "ProductResidual",
    "Residual",
    "ResidualSpec",
    "RotationResidual",
    "ScalarResidual",
    "dense",
    "diagonal",
    "heterogeneous",
    "informed",
    "informed_coupling",
    "orthogonal",
    "product",
    "rotation",
    "scalar",
]
