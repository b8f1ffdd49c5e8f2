"""Plot of curvature between time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import check_names
from lyapkit.plots._labels import MESH, axes_or_new, one_result


@overload
def curvature_between_steps(
    ds: xr.Dataset | xr.DataTree, *, ax: Axes | None = ..., rank: int = ..., weak_coupling: bool = ..., **image: Any
) -> Axes: ...
@overload
def curvature_between_steps(
    ds: dict[str, xr.Dataset | xr.DataTree] | dict[str, xr.Dataset] | dict[str, xr.DataTree],
    *,
    ax: Sequence[Axes] | NDArray[Any] | None = ...,
    rank: int = ...,
    weak_coupling: bool = ...,
    **image: Any,
) -> NDArray[Any]: ...
@named_arguments(MESH)
def curvature_between_steps(
    ds: Any, *, ax: Any = None, rank: int = 1, weak_coupling: bool = False, **image: Any
) -> Any:
    """Draw the matrix of curvature between time steps along one eigenvector.

    Args:
        ds: Result of `lyapkit.curvature_by_step`, or ``{name: result}`` of several to compare, each on axes of its own.
        ax: Axes to draw on, or as many as there are names; a new figure by default.
        rank: Rank of the eigenvector.
        weak_coupling: Whether to draw the weak-coupling form, eq. (14) of Dubinin & Effenberger (2024).
        image: Passed on to `matplotlib.axes.Axes.pcolormesh`, such as ``cmap``, ``vmax`` or ``norm``.

    Returns:
        The axes, with a colour bar that is symmetric about zero; of several results an array of axes, with the names as
        titles and the same colours for the same values, unless ``norm`` is given. The readout, a bin of its own in the
        result, is not drawn: it can outweigh all steps together.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such rank or no weak-coupling form, or there are
            fewer or more axes than results.
    """
    name = "weak_coupling_curvature" if weak_coupling else "step_to_step_curvature"
    if not isinstance(ds, dict):
        return _draw(_chosen(ds, name, rank), name, axes_or_new(ax), image)
    check_names(ds, {})
    chosen = {key: _chosen(result, name, rank) for key, result in ds.items()}
    if "norm" not in image:
        largest = max(float(abs(one[name].values[:-1, :-1]).max()) for one in chosen.values())
        image = {"vmax": largest or 1.0, **image}
    if ax is None:
        width, height = mpl.rcParams["figure.figsize"]
        ax = plt.figure(figsize=(len(ds) * width, height), layout="constrained").subplots(1, len(ds), squeeze=False)[0]
    if np.shape(ax) != (len(ds),):
        raise ValueError(f"ax must be {len(ds)} axes, one for each result, got {np.size(ax)}.")
    for axes, (key, one) in zip(ax, chosen.items(), strict=True):
        _draw(one, name, axes_or_new(axes), dict(image)).set_title(key)
    return np.array(ax, dtype=object)


def _chosen(result: object, name: str, rank: int) -> xr.Dataset:
    """Return the part of a result along one eigenvector.

    Raises:
        ValueError: If it is the result of another analysis, or has no such rank or variable.
    """
    ds = one_result(result, "curvature_by_step", "step_to_step_curvature", "rank", "bin", "other_bin")
    there = ds["rank"].values.tolist()
    if rank not in there:
        raise ValueError(f"rank must be one of {there}, got {rank!r}.")
    if name not in ds:
        raise ValueError(f"the result has no {name}: its map has no linear residual.")
    return ds.sel(rank=rank)


def _draw(ds: xr.Dataset, name: str, ax: Axes, image: dict[str, Any]) -> Axes:
    matrix = ds[name].values[:-1, :-1]
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
    rank = int(ds["rank"])
    ax.figure.colorbar(drawn, ax=ax, format=ticks, label=rf"curvature $v_s^\top A_{{st}} v_t$, rank {rank}")
    return ax
