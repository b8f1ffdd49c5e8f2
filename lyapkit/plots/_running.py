"""Drawing of finite-time exponents over time, for several plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyapkit.plots._labels import (
    axes_or_new,
    check_trajectory,
    label,
    next_color,
    spread_ranks,
    with_defaults,
)


def draw_running(
    ds: xr.Dataset,
    ax: Axes | None,
    trajectory: str | float,
    lines: int,
    reference: Sequence[float] | NDArray[np.float64],
    reference_label: str | None,
    line: Mapping[str, Any],
) -> Axes:
    """Draw ``running_exponent`` of one trajectory over ``step``; arguments as in `variational_term`.

    Raises:
        ValueError: If ``ds`` has no such trajectory, or ``lines`` is below 1.
    """
    check_trajectory(ds, trajectory)
    ranks = spread_ranks(ds.sizes["exponent"], lines)
    ax = axes_or_new(ax)
    running = ds["running_exponent"].sel(trajectory=trajectory)
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
