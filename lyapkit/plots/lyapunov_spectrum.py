"""Plot of a Lyapunov spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._labels import axes_or_new, check_analysis, check_trajectory, label, with_defaults


def lyapunov_spectrum(ds: xr.Dataset, *, ax: Axes | None = None, trajectory: int = 0, **line: Any) -> Axes:
    """Exponents by rank, with their standard errors.

    Args:
        ds: result of `lyapkit.lyapunov_spectrum`.
        ax: axes to draw on; a new figure by default.
        trajectory: which trajectory.
        line: passed on to `matplotlib.axes.Axes.errorbar`, such as ``color`` or ``label``.

    Returns:
        The axes. Annihilated directions (-inf) and unknown errors (inf) are not drawn.

    Raises:
        ValueError: ``ds`` is another analysis' result, or has no such trajectory.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=200)
        >>> lyapkit.plots.lyapunov_spectrum(ds).get_ylabel()
        'Lyapunov exponent (nats per step)'
    """
    check_analysis(ds, "lyapunov_spectrum")
    check_trajectory(ds, trajectory)
    ax = axes_or_new(ax)
    exponent = ds["lyapunov_exponent"].sel(trajectory=trajectory)
    error = ds["standard_error"].sel(trajectory=trajectory).values
    drawn = np.isfinite(exponent.values)
    shape = {} if "fmt" in line else {"marker": "o", "linestyle": "-"}
    style = with_defaults(line, **shape, markersize=2.5, capsize=0)
    ax.errorbar(
        exponent["exponent"].values[drawn],
        exponent.values[drawn],
        yerr=np.where(np.isfinite(error), error, 0.0)[drawn],
        **style,
    )
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set_xlabel("rank of the exponent")
    ax.set_ylabel(label(exponent))
    return ax
