"""Effective learning rates, eq. (6) of Dubinin & Effenberger (2024), and the largest stable one."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np


def effective_learning_rates(eigenvalues: np.ndarray, radii: np.ndarray, eta: float) -> dict[str, np.ndarray]:
    """1/(1 - eta lambda), with the interval it lies in when lambda is known to a radius.

    The function has a pole at eta lambda = 1, and is monotonic on either side of it. Where the interval of lambda holds
    the pole, nothing is known about the rate: it is infinite there, and so are the ends of its interval.

    Args:
        eigenvalues: Lambda, shape (k,).
        radii: Lambda lies within so much of the value, shape (k,).
        eta: The learning rate.

    Returns:
        ``effective_learning_rate``, ``effective_learning_rate_low``, ``effective_learning_rate_high`` and
        ``contains_pole`` (1 or 0), shape (k,) each.
    """
    ends = np.stack([1 - eta * (eigenvalues - radii), 1 - eta * (eigenvalues + radii)])
    # what the differences have lost to rounding counts as part of the interval
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
    """Return 2(1 + b)/lambda_max, up to which gradient descent with heavy-ball momentum b does not leave a minimum.

    Along an eigenvector the distance to the minimum obeys z_{t+1} = (1 + b - eta lambda) z_t - b z_{t-1}. The roots of
    z^2 - (1 + b - eta lambda) z + b lie within the unit circle if and only if 0 < eta lambda < 2(1 + b).

    Args:
        eigenvalues: The lambda that were found, shape (k,).
        momentum: B, from 0 to below 1.

    Returns:
        The rate, infinite where no eigenvalue is positive.
    """
    largest = float(eigenvalues.max())
    with np.errstate(over="ignore"):
        return float(np.float64(2 * (1 + momentum)) / largest) if largest > 0 else math.inf


def check_momentum(momentum: Any, learning_rate: float | None) -> float:
    """Return the momentum as a number from 0 to below 1.

    Args:
        momentum: B.
        learning_rate: The rate it goes with.

    Raises:
        TypeError: If it is not a number, or there is no learning rate that it could go with.
        ValueError: If it is below 0, or 1 and above, where nothing comes to rest.
    """
    if isinstance(momentum, bool) or not isinstance(momentum, Real):
        raise TypeError(f"momentum must be a number, got {momentum!r}.")
    if not 0 <= float(momentum) < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}.")
    if momentum and learning_rate is None:
        raise TypeError("momentum belongs to a learning rate; give learning_rate= too.")
    return float(momentum)
