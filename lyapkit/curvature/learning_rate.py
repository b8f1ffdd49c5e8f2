"""Effective learning rates, eq. (6) of Dubinin & Effenberger (2024)."""

from __future__ import annotations

import numpy as np


def effective_learning_rates(eigenvalues: np.ndarray, radii: np.ndarray, eta: float) -> dict[str, np.ndarray]:
    """1/(1 - eta lambda), with the interval it lies in when lambda is known to a radius.

    The function has a pole at eta lambda = 1, and is monotonic on either side of it. Where the interval of lambda holds
    the pole, nothing is known about the rate: it is infinite there, and so are the ends of its interval.

    Args:
        eigenvalues: lambda, shape (k,).
        radii: lambda lies within so much of the value, shape (k,).
        eta: the learning rate.

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
