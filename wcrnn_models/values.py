"""Kinds of values that are read from files."""

from __future__ import annotations

import math
from typing import TypeGuard


def is_integer(value: object) -> TypeGuard[int]:
    """Tell whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether a value is an integer from 0 on that 64 bits can hold, as files of results must."""
    return is_integer(value) and 0 <= value < 2**63


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is an integer or a floating-point number."""
    return is_integer(value) or isinstance(value, float)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a number that a float64 can hold."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:  # an integer beyond all float64 numbers
        return False
