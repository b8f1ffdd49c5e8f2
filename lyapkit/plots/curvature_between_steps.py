"""Plot of curvature between time steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._labels import MESH, axes_or_new, one_result


@named_arguments(MESH)
def curvature_between_steps(
    ds: xr.Dataset | xr.DataTree, *, ax: Axes | None = None, rank: int = 1, weak_coupling: bool = False, **image: Any
) -> Axes:
    """Draw the matrix of curvature between time steps along one eigenvector.

    Args:
        ds: Result of `lyapkit.curvature_by_step`.
        ax: Axes to draw on; a new figure by default.
        rank: Rank of the eigenvector.
        weak_coupling: Whether to draw the weak-coupling form, eq. (14) of Dubinin & Effenberger (2024).
        image: Passed on to `matplotlib.axes.Axes.pcolormesh`, such as ``cmap``, ``vmax`` or ``norm``.

    Returns:
        The axes, with a colour bar that is symmetric about zero. The readout, a bin of its own in the result, is not
        drawn: it can outweigh all steps together.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, or has no such rank or no weak-coupling form.
    """
    ds = one_result(ds, "curvature_by_step", "step_to_step_curvature", "rank", "bin", "other_bin")
    there = ds["rank"].values.tolist()
    if rank not in there:
        raise ValueError(f"rank must be one of {there}, got {rank!r}.")
    name = "weak_coupling_curvature" if weak_coupling else "step_to_step_curvature"
    if name not in ds:
        raise ValueError(f"the result has no {name}: its map has no linear residual.")
    ax = axes_or_new(ax)
    matrix = ds[name].sel(rank=rank).values[:-1, :-1]
    edges = np.append(ds["first_step"].values[:-1] - 0.5, ds["last_step"].values[-2] + 0.5)
    style: dict[str, Any] = {"cmap": "RdBu_r"}
    if "norm" not in image:
        largest = float(image.pop("vmax", abs(matrix).max() or 1.0))
        style |= {"vmin": -largest, "vmax": largest}
    drawn = ax.pcolormesh(edges, edges, matrix, **{**style, **image})
    ax.set_aspect("equal")
    ax.invert_yaxis()
    ax.set_xlabel("time step $t$")
    ax.set_ylabel("time step $s$")
    assert ax.figure is not None
    ticks = ScalarFormatter()
    ticks.set_powerlimits((-2, 3))
    ax.figure.colorbar(drawn, ax=ax, format=ticks, label=rf"curvature $v_s^\top A_{{st}} v_t$, rank {rank}")
    return ax
