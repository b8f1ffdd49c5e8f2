"""Axes of figures: logarithms in plain numbers, views that show a decade, r or its distance to the edge of chaos."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

Against = Literal["r", "log-r", "distance"]
"""Quantities on the axis of the figures over the residual strength."""

SPAN = 10.0
"""Smallest factor that `show_a_decade` shows."""

_MARGIN = 0.05  # of the height, above and below the data
_TIE = 1e-9  # decades; a limit that is a power of ten up to rounding counts as one


def positive(*values: ArrayLike) -> NDArray[np.float64]:
    """Return all numbers that a logarithmic axis can show, in one dimension."""
    together: NDArray[np.float64] = np.concatenate([np.ravel(np.asarray(each, dtype=float)) for each in values])
    shown: NDArray[np.float64] = together[np.isfinite(together) & (together > 0)]
    return shown


def show_a_decade(ax: Axes, *values: ArrayLike) -> None:
    """Centre a logarithmic axis on its data and show a factor of `SPAN` at least, so that small changes look small.

    Args:
        ax: Axes with a logarithmic vertical axis.
        values: The data; zeros, negative numbers, infinities and NaN do not count. Without any the view stays.
    """
    shown = positive(*values)
    if not shown.size:
        return
    low, high = math.log10(shown.min()), math.log10(shown.max())
    half = max(math.log10(SPAN) / 2, (high - low) * (0.5 + _MARGIN))
    ends = np.clip([(low + high) / 2 - half, (low + high) / 2 + half], -300, 300)
    view(ax, *10.0**ends)


def view(ax: Axes, low: float, high: float) -> None:
    """Set the ends of the vertical axis, whatever limits matplotlib would choose for the data."""
    ax.set_autoscaley_on(False)  # first, since matplotlib computes limits before it replaces them
    ax.set_ylim(low, high)


def logarithmic(ax: Axes, which: Literal["x", "y"] = "y") -> None:
    """Make an axis logarithmic: powers of ten, or plain numbers where the view holds fewer than two of them."""
    axis: Axis = getattr(ax, f"{which}axis")
    chosen_by_data = getattr(ax, f"get_autoscale{which}_on")()
    getattr(ax, f"set_autoscale{which}_on")(False)  # until the locator is set, which can handle equal data
    getattr(ax, f"set_{which}scale")("log")
    axis.set_major_locator(_Ticks())
    axis.set_major_formatter(_Numbers())
    axis.set_minor_formatter(NullFormatter())
    if chosen_by_data:
        ax.autoscale(axis=which)


def plain_ticks(low: float, high: float) -> list[float] | None:
    """Return the ticks of a logarithmic axis that shows fewer than two powers of ten; None for others."""
    first, last = math.ceil(math.log10(low) - _TIE), math.floor(math.log10(high) + _TIE)
    if last > first:
        return None
    within = (low * (1 - _TIE), high * (1 + _TIE))
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [float(f"{digit}e{power}") for power in range(first - 1, last + 2) for digit in digits]
        ticks = [tick for tick in ticks if within[0] <= tick <= within[1]]
        if len(ticks) >= 3:
            return ticks
    linear = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in linear if within[0] <= tick <= within[1]]


class _Ticks(LogLocator):
    def nonsingular(self, vmin: float, vmax: float) -> tuple[float, float]:
        """Return a decade around data that are equal up to rounding, which have no limits of their own."""
        if 0 < vmin <= vmax <= vmin * (1 + _TIE):
            return vmin / math.sqrt(SPAN), vmin * math.sqrt(SPAN)
        low, high = super().nonsingular(vmin, vmax)
        return float(low), float(high)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((vmin, vmax))
        plain = plain_ticks(low, high) if 0 < low < high else None
        return super().tick_values(vmin, vmax) if plain is None else np.array(plain)


class _Numbers(LogFormatterSciNotation):
    def __call__(self, x: float, pos: int | None = None) -> str:
        low, high = sorted(self.axis.get_view_interval())  # type: ignore[union-attr]
        if plain_ticks(low, high) is None or not 1e-5 < abs(x) < 1e7:
            return str(super().__call__(x, pos))
        return np.format_float_positional(float(f"{x:.6g}"), trim="-")


# -- the residual strength ----------------------------------------------------------------------------------------

_ABSCISSAE: Mapping[Against, tuple[Callable[[Any], Any], str, str]] = MappingProxyType(
    {
        "r": (lambda r: r, "residual connection strength $r$", "$r$"),
        "log-r": (np.log, r"$\log r$ (nats per step)", r"$\log r$"),
        "distance": (lambda r: r - 1, "distance to the edge of chaos, $r - 1$", "$r - 1$"),
    }
)


def abscissa(r: float, against: Against) -> float:
    """Return r itself, its logarithm, or its signed distance to the edge of chaos at r = 1."""
    return float(_ABSCISSAE[against][0](r))


def symbol(against: Against) -> str:
    """Return the quantity on the axis, as a title of a legend."""
    return _ABSCISSAE[against][2]


def over_strength(training: xr.Dataset, against: Against) -> xr.Dataset:
    """Return trainings with the quantity on the axis in place of the coordinate ``r``."""
    return training.assign_coords(r=[abscissa(r, against) for r in training.r.values])


def strength_axis(ax: Axes, strengths: ArrayLike, against: Against) -> None:
    """Name the horizontal axis and draw a line at the edge of chaos.

    Args:
        ax: Axes with the values of `over_strength` on the horizontal axis.
        strengths: All r that are drawn. The axis of ``"distance"`` is linear up to the one next to the edge of chaos,
            and logarithmic beyond it on both sides.
        against: Quantity on the axis.
    """
    label = _ABSCISSAE[against][1]
    distances = positive(abs(np.asarray(strengths, dtype=float) - 1))
    if against == "distance" and distances.size:
        nearest = float(f"{distances.min():.6g}")
        ax.set_xscale("symlog", linthresh=nearest)
        label += f"\n(linear up to $\\pm${nearest:g}, logarithmic beyond)"
    ax.axvline(abscissa(1.0, against), color="0.6", linewidth=0.6, zorder=0)
    ax.set_xlabel(label)
