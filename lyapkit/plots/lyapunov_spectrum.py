"""Plot of a Lyapunov spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._labels import axes_or_new, check_analysis, check_trajectory, label, next_color, with_defaults


def lyapunov_spectrum(
    ds: xr.Dataset,
    *,
    ax: Axes | None = None,
    trajectory: int = 0,
    fraction_axis: bool = False,
    band: bool = False,
    **line: Any,
) -> Axes:
    """Exponents by rank, with their standard errors.

    Args:
        ds: result of `lyapkit.lyapunov_spectrum`.
        ax: axes to draw on; a new figure by default.
        trajectory: which trajectory.
        fraction_axis: draw against i/N, rank divided by state size, so that networks of different sizes compare.
        band: shade exponent plus and minus standard error instead of drawing bars, for many exponents.
        line: passed on to `matplotlib.axes.Axes.errorbar`, such as ``color`` or ``label``.

    Returns:
        The axes. Annihilated directions (-inf) and unknown errors (inf) are not drawn.

    Raises:
        ValueError: ``ds`` is another analysis' result, has no such trajectory, or does not say N for ``fraction_axis``.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=200)
        >>> lyapkit.plots.lyapunov_spectrum(ds).get_ylabel()
        'Lyapunov exponent (nats per step)'
    """
    check_analysis(ds, "lyapunov_spectrum")
    check_trajectory(ds, trajectory)
    if fraction_axis and "unit" not in ds.dims:
        raise ValueError(
            "the Dataset has no unit dimension, which says the state size N that fraction_axis divides by; draw "
            "against the rank, or compute the spectrum again with this version."
        )
    ax = axes_or_new(ax)
    exponent = ds["lyapunov_exponent"].sel(trajectory=trajectory)
    error = ds["standard_error"].sel(trajectory=trajectory).values
    drawn = np.isfinite(exponent.values)
    rank = exponent["exponent"].values[drawn]
    x = rank / ds.sizes["unit"] if fraction_axis else rank
    value, error = exponent.values[drawn], np.where(np.isfinite(error), error, 0.0)[drawn]
    shape = {} if "fmt" in line else {"marker": "o", "linestyle": "-"}
    style = with_defaults(line, **shape, markersize=2.5, capsize=0)
    (curve, *_) = ax.errorbar(x, value, yerr=None if band else error, **style)
    if band:
        color = next_color(ax) if curve is None else curve.get_color()
        ax.fill_between(x, value - error, value + error, color=color, alpha=0.25, linewidth=0)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set_xlabel("rank of the exponent / state size $i/N$" if fraction_axis else "rank of the exponent")
    ax.set_ylabel(label(exponent))
    return ax
