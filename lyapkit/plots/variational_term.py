"""Plot of the finite-time exponents of the variational term over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyapkit.plots._labels import axes_or_new, check_analysis, check_trajectory, label, next_color, with_defaults


def variational_term(
    ds: xr.Dataset,
    *,
    ax: Axes | None = None,
    trajectory: int = 0,
    lines: int = 20,
    reference: Sequence[float] | NDArray[np.float64] = (),
    reference_label: str | None = None,
    **line: Any,
) -> Axes:
    """Finite-time exponents log sigma_i(V_t) / t over time, as Fig. 2B of Dubinin & Effenberger (2024).

    Args:
        ds: result of `lyapkit.variational_term`.
        ax: axes to draw on; a new figure by default.
        trajectory: which trajectory.
        lines: at most how many exponents, evenly spread over the ranks with first and last included.
        reference: values to mark by dashed lines, such as log |eigenvalues of the residual|; equal ones once.
        reference_label: written beside the first reference line.
        line: passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only.

    Returns:
        The axes. Values of -inf are not drawn.

    Raises:
        ValueError: ``ds`` is another analysis' result, has no such trajectory, or ``lines`` is below 1.
    """
    check_analysis(ds, "variational_term")
    check_trajectory(ds, trajectory)
    if lines < 1:
        raise ValueError(f"lines must be at least 1, got {lines}.")
    ax = axes_or_new(ax)
    running = ds["running_exponent"].sel(trajectory=trajectory)
    ranks = np.unique(np.linspace(0, running.sizes["exponent"] - 1, lines).round().astype(int))
    style = with_defaults(line, linewidth=0.7, alpha=0.8)
    name = style.pop("label", None)
    if "color" not in style:
        style["color"] = next_color(ax)
    for rank in ranks:
        values = np.where(np.isfinite(running.values[:, rank]), running.values[:, rank], np.nan)
        ax.plot(running["step"].values, values, label=name if rank == ranks[0] else None, **style)
    for index, value in enumerate(np.unique(np.asarray(reference, dtype=float).round(12))):
        ax.axhline(value, color="0.15", linewidth=0.8, linestyle=(0, (4, 2)), zorder=3)
        if index == 0 and reference_label is not None:
            ax.annotate(
                reference_label,
                (1.0, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 6),
                textcoords="offset points",
                ha="right",
                va="bottom",
                color="0.15",
            )
    ax.set_xlabel("time step $t$")
    ax.set_ylabel(label(running))
    return ax
