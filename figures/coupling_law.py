"""Deviation of exponents of untrained networks from log |eigenvalues of R| as the coupling grows."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.evidence import Evidence
from figures.missing import nothing
from figures.scales import positive, view
from figures.scripts import Script
from figures.style import notes, over_seeds, panels

COLORS = {
    "scalar": "#0072B2",
    "rotation": "#56B4E9",
    "orthogonal": "#009E73",
    "non-normal": "#D55E00",
    "defective": "#CC79A7",
}
ROOM = 0.2  # for the legend below the data, of the decades that they span
MARKERS = {"scalar": "o", "rotation": "s", "orthogonal": "^", "non-normal": "D", "defective": "v"}


def draw(results: Evidence) -> Figure:
    """A: largest deviation of any exponent, with Weyl's bounds. B: mean. C: mean without its first-order term.

    All are magnitudes in log-log, averages over network instances with their range shaded and standard errors of the
    measurement as bars. The fitted powers of gamma are in the legends of the panels, in colours of the residuals. The
    remainder in C is of second order up to the largest coupling of the fits; beyond it, higher orders may cancel it.
    """
    tree = results.files.get("coupling_law")
    if tree is None:
        return nothing("coupling_law")
    measured = tree["coupling_law"].to_dataset()
    figure, axes = panels(1, 3, height=3.2, sharex=True)
    quantities = (
        ("largest", "largest deviation", measured.largest_deviation, measured.largest_error),
        ("mean", "|mean deviation|", measured.mean_deviation, measured.mean_error),
        ("remainder", "|mean $-$ first-order term|", measured.mean_deviation - measured.first_order_mean, None),
    )
    for ax, (law, name, value, error) in zip(axes, quantities, strict=True):
        digits = max(_digits(measured.sel(residual=residual, law=law)) for residual in measured.residual.values)
        for residual in measured.residual.values:
            one = {"residual": residual}
            label = _slope(measured.sel(residual=residual, law=law), digits)
            _points(ax, abs(value).sel(one), None if error is None else error.sel(one), str(residual), label)
        ax.set(xscale="log", yscale="log", xlabel=r"coupling $\gamma$", ylabel=f"{name} (nats per step)")
        shown = positive(abs(value))
        low, high = shown.min(), shown.max()
        view(ax, low * (low / high) ** ROOM, high * (high / low) ** 0.05)
    for ax in axes:
        ax.legend(loc="lower right", title=r"fitted power of $\gamma$", fontsize=6, title_fontsize=6)
    _bounds(axes[0], measured)
    handles: list[Any] = [*axes[0].containers, axes[0].lines[-1]]
    names = [*measured.residual.values, "Weyl's bound, normal residuals"]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=6)
    condition = float(measured.eigenvector_condition.sel(residual="non-normal").mean("seed"))
    note = (
        f"N = {measured.attrs['units']}, |eigenvalues| {measured.attrs['strength']:g}, fits up to "
        f"$\\gamma$ = {measured.attrs['fitted_up_to']:g}; non-normal: cond(V) = {condition:.0f}"
    )
    figure.set_label(notes(note, over_seeds({"A\N{EN DASH}C": measured}), _cancelling(measured)))
    return figure


def _points(ax: Axes, value: xr.DataArray, error: xr.DataArray | None, residual: str, label: str) -> None:
    bars = None if error is None else np.sqrt((error**2).sum("seed").values) / error.sizes["seed"]
    style: dict[str, Any] = {"color": COLORS[residual], "marker": MARKERS[residual], "markersize": 3, "linewidth": 0.9}
    ax.errorbar(value.coupling.values, value.mean("seed").values, yerr=bars, label=label, capsize=0, **style)
    if value.sizes["seed"] > 1:
        low, high = value.min("seed"), value.max("seed")
        ax.fill_between(value.coupling, low, high, color=COLORS[residual], alpha=0.2, linewidth=0)


def _power(measured: xr.Dataset) -> tuple[float, float]:
    """Return the mean over instances with its standard error, or the value of one instance with that of the fit."""
    count = measured.sizes["seed"]
    slope, fit = float(measured.slope.mean()), float(measured.slope_error.mean())
    return slope, float(measured.slope.std(ddof=1)) / np.sqrt(count) if count > 1 else fit


def _digits(measured: xr.Dataset) -> int:
    """Return the decimals to the first digit of the error, as it is after rounding; at least three."""
    _, error = _power(measured)
    return 3 if error == 0 else max(3, -int(f"{error:.0e}".partition("e")[2]))


def _slope(measured: xr.Dataset, digits: int) -> str:
    """Return a fitted power with its error; all powers of a panel have equally many decimals."""
    slope, error = _power(measured)
    return f"{slope:.{digits}f} $\\pm$ {error:.{digits}f}"


def _cancelling(measured: xr.Dataset) -> str:
    """Return the caption's text on residuals whose remainder shrinks as the coupling grows."""
    remainder = abs(measured.mean_deviation - measured.first_order_mean).mean("seed")
    shrinks = (remainder.diff("coupling") < 0).any("coupling")
    names = [str(name) for name in measured.residual.values[shrinks.values]]
    if not names:
        return ""
    return f"C, {', '.join(names)}: where it falls, terms of second and third order nearly cancel each other"


def _bounds(ax: Axes, measured: xr.Dataset) -> None:
    """Draw the bounds of normal residuals, which share one; those of the others do not fit into the panel."""
    bound = measured.largest_bound.sel(residual="scalar").max("seed")
    ax.plot(bound.coupling, bound, color="0.3", linestyle=(0, (4, 2)), linewidth=0.8)


SCRIPT = Script("exponents against the coupling: the O(gamma) law", ("coupling_law",), draw)
