"""Checks of the arguments of `lyapkit.gradient_propagation`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from lyapkit.checks.arguments import check_integer
from lyapkit.recurrent_map import RecurrentMap


def check_norms(norms: Sequence[float | str] | float | str) -> list[float]:
    """Check the norms, and return their orders.

    Raises:
        TypeError: If they are not a sequence.
        ValueError: If there are none, one is repeated, or one is not a norm.
    """
    if not isinstance(norms, Iterable | float | int):
        raise TypeError(f'norms must name one or more norms, such as ("inf", 2); got {norms!r}.')
    orders = [_order(norm) for norm in ((norms,) if isinstance(norms, str | int | float) else norms)]
    if not orders or len(set(orders)) < len(orders):
        raise ValueError(f'norms must name one or more different norms, such as ("inf", 2); got {norms!r}.')
    return orders


def norm_label(order: float) -> str:
    """Return the label of a norm: ``inf``, ``2``, ..."""
    return f"{order:g}"


def _order(norm: float | str) -> float:
    try:
        order = float(norm)
    except (TypeError, ValueError):
        order = math.nan
    if not order > 0:
        raise ValueError(f'a norm must be "inf" or a positive number, got {norm!r}.')
    return order


def check_window(fit: Any, steps: int) -> tuple[int, int | None]:
    """Check the window of a fit: steps back in time (start, stop), start <= T - t < stop; None for the whole sequence.

    Args:
        fit: The argument ``fit``.
        steps: Number of steps T of the shortest sequence.

    Raises:
        TypeError: If it is not a pair of integers, or of an integer and None.
        ValueError: If it is not within the run, or empty.
    """
    if fit is None:
        return 0, None
    if not isinstance(fit, tuple | list) or len(fit) != 2:
        raise TypeError(f"fit must be a pair (start, stop) of steps back in time, got {fit!r}.")
    start = check_integer("the start of fit", fit[0])
    stop = steps if fit[1] is None else check_integer("the stop of fit", fit[1], "an integer or None")
    if not 0 <= start < stop <= steps:
        raise ValueError(
            f"fit must be (start, stop) with 0 <= start < stop <= {steps}, the number of steps; got ({start}, {stop})."
        )
    return start, None if fit[1] is None else stop


def predicted_rate(map: RecurrentMap) -> float | None:
    """Return the rate that the map predicts.

    Raises:
        ValueError: If it is not a number.
    """
    rate = map.predicted_gradient_rate
    if rate is None:
        return None
    if math.isnan(float(rate)):
        raise ValueError("the map's predicted_gradient_rate is NaN. Return None if there is no prediction.")
    return float(rate)
