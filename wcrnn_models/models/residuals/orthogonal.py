"""Random orthogonal residuals, uniform over all rotations and reflections (section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from wcrnn_models.models.residuals.base import Residual, ResidualSpec, check_finite_number
from wcrnn_models.models.residuals.dense import DenseResidual
from wcrnn_models.randomness import RandomSource, normal


def orthogonal(r: float = 1.0, rng: RandomSource = None) -> ResidualSpec:
    """Make R = r Q with Q from the Haar measure of O(N), as `scipy.stats.ortho_group` (section 4.2).

    The eigenvalues lie on the circle of radius r with angles that repel each other, unlike the independent ones of
    ``rotation("random")``; the paper found the two to perform alike (Fig. B.4D). Determinants of +1 and -1 are equally
    likely.

    Args:
        r: Magnitude of all eigenvalues.
        rng: Where Q is drawn from when the residual is built.

    Raises:
        ValueError: If ``r`` is not finite.

    Example:
        >>> import torch
        >>> from wcrnn_models import residuals
        >>> R = residuals.orthogonal(0.9, rng=0).build(4, dtype=torch.float64).matrix()
        >>> torch.allclose(R @ R.T, 0.81 * torch.eye(4, dtype=torch.float64))  # r^2 I
        True
    """
    scale = check_finite_number("r", r)

    def construct(size: int) -> Residual:
        return DenseResidual(scale * haar(size, rng))

    return ResidualSpec(f"orthogonal(r={scale:g})", construct)


def haar(size: int, rng: RandomSource) -> Tensor:
    """Return an orthogonal matrix from the Haar measure of O(N), float64, shape (N, N).

    The Q of the QR decomposition of a Gaussian matrix is Haar distributed if the diagonal of the triangular factor is
    made positive; LAPACK's own signs are not uniform (Mezzadri, Notices of the AMS 54, 592, 2007).

    Args:
        size: N.
        rng: Where the Gaussian entries are drawn from.
    """
    q, triangle = torch.linalg.qr(normal((size, size), rng))
    signed: Tensor = q * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    return signed
