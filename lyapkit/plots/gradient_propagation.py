"""Plot of gradient norms over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._labels import axes_or_new, check_analysis, next_color, with_defaults


def gradient_propagation(
    ds: xr.Dataset, *, ax: Axes | None = None, norm: str | float = "inf", lines: int = 20, **line: Any
) -> Axes:
    """Norms of dL/dx_t over time, one line per trajectory, as Fig. 2D of Dubinin & Effenberger (2024).

    Args:
        ds: result of `lyapkit.gradient_propagation`.
        ax: axes to draw on; a new figure by default.
        norm: which norm, by its coordinate or as a number.
        lines: at most how many trajectories, the first ones.
        line: passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only.

    Returns:
        The axes; the vertical axis is logarithmic. Norms that are zero or outside the range of float64 are not drawn.

    Raises:
        ValueError: ``ds`` is another analysis' result, has no such norm, or ``lines`` is below 1.
    """
    check_analysis(ds, "gradient_propagation")
    norm = norm if isinstance(norm, str) else f"{norm:g}"
    if norm not in ds["norm"].values:
        raise ValueError(f"norm must be one of {ds['norm'].values.tolist()}, got {norm!r}.")
    if lines < 1:
        raise ValueError(f"lines must be at least 1, got {lines}.")
    ax = axes_or_new(ax)
    values = ds["gradient_norm"].sel(norm=norm)
    style = with_defaults(line, linewidth=0.7, alpha=0.8)
    name = style.pop("label", None)
    if "color" not in style:
        style["color"] = next_color(ax)
    for index, row in enumerate(values.values[:lines]):
        drawn = np.where((row > 0) & np.isfinite(row), row, np.nan)
        ax.plot(values["step"].values, drawn, label=name if index == 0 else None, **style)
    ax.set_yscale("log")
    symbol = r"\infty" if norm == "inf" else norm
    ax.set_xlabel("time step $t$")
    ax.set_ylabel(rf"gradient norm $\|\mathrm{{d}}L/\mathrm{{d}}x_t\|_{{{symbol}}}$")
    return ax
