"""Checks of the arguments that analyses share."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch


def check_integer(name: str, value: Any, expected: str = "an integer") -> int:
    """An integer, Python's or NumPy's, as an int.

    Raises:
        TypeError: anything else, booleans among it.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {value!r}.") from None


def refuse_inference_mode() -> None:
    """Every analysis needs derivatives.

    Raises:
        RuntimeError: inference mode is on, which PyTorch cannot differentiate in.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "torch.inference_mode() is on, which rules derivatives out; call the analysis outside of it."
        )


def check_k(k: int | None, size: int) -> int:
    """The number of leading exponents, N by default.

    Raises:
        TypeError: not an integer.
        ValueError: outside 1..N.
    """
    if k is None:
        return size
    k = check_integer("k", k, "an integer or None")
    if not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the state size {size}, got {k}.")
    return k


def check_interval(interval: int, name: str = "qr_interval") -> int:
    """A number of steps of at least 1.

    Raises:
        TypeError: not an integer.
        ValueError: below 1.
    """
    interval = check_integer(name, interval, "an integer of at least 1")
    if interval < 1:
        raise ValueError(f"{name} must be at least 1, got {interval}.")
    return interval


def check_dt(dt: float) -> float:
    """The duration of a step.

    Raises:
        TypeError: not a number.
        ValueError: not positive and finite.
    """
    try:
        dt = float(dt)
    except (TypeError, ValueError):
        raise TypeError(f"dt must be a number, got {dt!r}.") from None
    if not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"dt must be positive and finite, got {dt}.")
    return dt


def time_unit(dt: float) -> str:
    """What rates are counted in: steps, or units of time once a step has a duration."""
    return "step" if dt == 1.0 else "unit time"
