"""Effective learning rates, eq. (6) of Dubinin & Effenberger (2024), and the largest stable one."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np


def effective_learning_rates(eigenvalues: np.ndarray, radii: np.ndarray, eta: float) -> dict[str, np.ndarray]:
    r"""Compute 1/(1 - eta lambda), and the interval that it lies in if lambda is known to within a radius.

    The function has a pole at :math:`\eta\lambda = 1` and is monotonic on either side. If the interval of lambda
    contains the pole, nothing is known about the rate: the rate and the ends of its interval are returned as infinite.

    Args:
        eigenvalues: Eigenvalues lambda, shape (k,).
        radii: Largest distance of the true lambda from each value, shape (k,).
        eta: The learning rate.

    Returns:
        ``effective_learning_rate``, ``effective_learning_rate_low``, ``effective_learning_rate_high`` and
        ``contains_pole`` (1 or 0), shape (k,) each.
    """
    ends = np.stack([1 - eta * (eigenvalues - radii), 1 - eta * (eigenvalues + radii)])
    # the interval includes the rounding of the differences
    rounding = np.finfo(float).eps * (1 + abs(eta) * (abs(eigenvalues) + radii))
    pole = (ends.min(axis=0) <= rounding) & (ends.max(axis=0) >= -rounding)
    with np.errstate(divide="ignore"):
        rates = 1 / ends
        rate = np.where(pole, np.inf, 1 / (1 - eta * eigenvalues))
    return {
        "effective_learning_rate": rate,
        "effective_learning_rate_low": np.where(pole, -np.inf, rates.min(axis=0)),
        "effective_learning_rate_high": np.where(pole, np.inf, rates.max(axis=0)),
        "contains_pole": pole.astype(np.int8),
    }


def stable_learning_rate(eigenvalues: np.ndarray, momentum: float) -> float:
    r"""Compute 2(1 + b)/lambda_max, the largest rate at which gradient descent with momentum b stays at a minimum.

    Along an eigenvector the distance to the minimum obeys, with heavy-ball momentum b,

    .. math:: z_{t+1} = (1 + b - \eta\lambda)\, z_t - b\, z_{t-1}.

    The roots of :math:`z^2 - (1 + b - \eta\lambda) z + b` lie within the unit circle if and only if
    :math:`0 < \eta\lambda < 2 (1 + b)`.

    Args:
        eigenvalues: The eigenvalues lambda that were found, shape (k,).
        momentum: Momentum b, from 0 to below 1.

    Returns:
        The rate; infinite if no eigenvalue is positive.
    """
    largest = float(eigenvalues.max())
    with np.errstate(over="ignore"):
        return float(np.float64(2 * (1 + momentum)) / largest) if largest > 0 else math.inf


def check_momentum(momentum: Any, learning_rate: float | None) -> float:
    """Check the momentum, and return it as a number from 0 to below 1.

    Args:
        momentum: Momentum b.
        learning_rate: The learning rate, if there is one.

    Raises:
        TypeError: If it is not a number, or no learning rate is given.
        ValueError: If it is below 0, or at least 1, where the iteration does not converge.
    """
    if isinstance(momentum, bool) or not isinstance(momentum, Real):
        raise TypeError(f"momentum must be a number, got {momentum!r}.")
    if not 0 <= float(momentum) < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}.")
    if momentum and learning_rate is None:
        raise TypeError("momentum belongs to a learning rate; give learning_rate= too.")
    return float(momentum)
