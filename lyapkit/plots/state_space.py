"""Plot of trajectories and fixed points in the space of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, check_names, legend_once
from lyapkit.plots._labels import (
    LINE,
    axes_or_new,
    check_count,
    dataset_of,
    names_of_trajectories,
    nth_color,
    one_result,
    with_defaults,
)

ARROW = 0.12
"""Length of the arrows of unstable directions, as part of the width of what is drawn."""

ARROWS = {"arrowstyle": "->", "color": "crimson", "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}

KINDS = {
    "stable": {"marker": "o", "markerfacecolor": "black"},
    "unstable": {"marker": "D", "markerfacecolor": "white"},
    "undecided": {"marker": "s", "markerfacecolor": "0.6"},
    "slow": {"marker": "x"},
}
"""Markers of points."""


@named_arguments(LINE)
def state_space(
    ds: Results,
    *,
    ax: Axes | None = None,
    fixed_points: Results | None = None,
    components: Sequence[int] = (1, 2),
    lines: int = 50,
    **line: Any,
) -> Axes:
    """Draw trajectories along two principal axes of their states, with fixed points and their unstable directions.

    Args:
        ds: Result of `lyapkit.states`, or ``{name: result}`` of several to compare, of the same units. All are drawn
            along the axes of the first.
        ax: Axes to draw on; a new figure by default.
        fixed_points: Result of `lyapkit.fixed_points` of the same network, or ``{name: result}`` of several to compare,
            whose edges have the colours of the results of these names. If it has eigenvectors (``eigenvectors=``),
            unstable directions are drawn as arrows.
        components: The two principal components to draw, from 1.
        lines: At most how many trajectories, the first ones of each result.
        line: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        The axes, labelled with the part of the variance that each component holds. Trajectories of the same name in the
        coordinate ``trajectory`` have the same colour (``trajectory_names=`` of `lyapkit.states`); a legend names up to
        ten. Filled circles are stable points, open diamonds have unstable directions, squares are
        undecided, and crosses slow points. Arrows are the projections of unit vectors, so that a short one points out
        of the picture.

    Raises:
        TypeError: If ``components`` are not two numbers.
        ValueError: If a result is another analysis', has other units, or no such component.

    Example:
        >>> import lyapkit, torch
        >>> cell, input = torch.nn.RNNCell(1, 5), torch.zeros(1)
        >>> starts = torch.randn(6, 5)
        >>> run = lyapkit.states(cell, input.expand(30, 1), initial_state=starts)
        >>> points = lyapkit.fixed_points(cell, input, starts=run, eigenvectors=1)
        >>> lyapkit.plots.state_space(run, fixed_points=points).get_xlabel().split(" (")[0]
        'principal component 1'
    """
    results = dict(ds) if isinstance(ds, dict) else {"": ds}
    check_names(results, line if isinstance(ds, dict) else {})
    runs = {name: _with_axes(result) for name, result in results.items()}
    first = next(iter(runs.values()))
    chosen = _check_components(components, first)
    points = points_by_name(fixed_points, results)
    for other in (*runs.values(), *points.values()):
        if other["unit"].values.tolist() != first["unit"].values.tolist():
            raise ValueError("the results have different units; draw those of networks of one kind together.")
    lines = check_count("lines", lines)
    ax = axes_or_new(ax)
    colors: dict[Any, str] = {}
    for name, run in runs.items():
        path = _projected(run["state"].transpose("trajectory", "step", "unit").values, first, chosen)
        start = _projected(run["initial_state"].transpose("trajectory", "unit").values, first, chosen)
        begins = int(run["step"].values[0]) == 1  # else what lies between is not known
        conditions = names_of_trajectories(run) or run["trajectory"].values.tolist()
        for index, condition in enumerate(conditions[:lines]):
            key = name or condition
            shown = np.vstack((start[index], path[index])) if begins else path[index]
            is_new = key not in colors
            color = colors.setdefault(key, nth_color(len(colors)))
            text = key if is_new and isinstance(key, str) and len(colors) <= 10 else None
            style = with_defaults(line, linewidth=0.8, alpha=0.8, color=color, label=text)
            ax.plot(shown[:, 0], shown[:, 1], **style)
    for name, found in points.items():
        _draw_points(ax, found, first, chosen, colors.get(name, "black"))
    if ax.get_legend_handles_labels()[0]:
        legend_once(ax)
    part = 100 * first["explained_variance"].values[chosen]
    ax.set_xlabel(f"principal component {components[0]} ({part[0]:.0f} %)")
    ax.set_ylabel(f"principal component {components[1]} ({part[1]:.0f} %)")
    return ax


def points_by_name(fixed_points: Results | None, results: Mapping[str, object]) -> dict[str, xr.Dataset]:
    """Return the results of `lyapkit.fixed_points` by the names of what is drawn; a single one has no name.

    Raises:
        ValueError: If a name is not that of something that is drawn, or a result is another analysis'.
    """
    if fixed_points is None:
        return {}
    given = dict(fixed_points) if isinstance(fixed_points, dict) else {"": fixed_points}
    unknown = [name for name in given if name and name not in results]
    if unknown:
        raise ValueError(
            f"fixed_points has the name {unknown[0]!r}, and the results to draw are {', '.join(map(repr, results))}; "
            "use their names."
        )
    return {name: dataset_of(points, "fixed_points") for name, points in given.items()}


def _with_axes(result: Any) -> xr.Dataset:
    ds = one_result(result, "states", "state", "trajectory", "step", "unit")
    if "principal_axis" not in ds:
        raise ValueError("the Dataset has no variable principal_axis; pass the whole result of states.")
    return ds


def _check_components(components: Any, ds: xr.Dataset) -> list[int]:
    """Return the places of two components.

    Raises:
        TypeError: If they are not two integers.
        ValueError: If there is no such component.
    """
    given = list(components) if isinstance(components, Sequence | np.ndarray) else []
    if len(given) != 2 or any(isinstance(each, bool) or not isinstance(each, int | np.integer) for each in given):
        raise TypeError(f"components must be two numbers of principal components, such as (1, 2); got {components!r}.")
    there = ds["component"].values.tolist()
    if not set(given) <= set(there):
        raise ValueError(f"components must lie between 1 and {len(there)}, got {tuple(given)}.")
    return [there.index(each) for each in given]


def _projected(states: NDArray[np.float64], axes: xr.Dataset, chosen: list[int]) -> NDArray[np.float64]:
    """Return states (..., unit) in the coordinates of two principal axes, (..., 2)."""
    basis = axes["principal_axis"].transpose("component", "unit").values[chosen]
    projected: NDArray[np.float64] = (states - axes["mean_state"].values) @ basis.T
    return projected


def _draw_points(ax: Axes, points: xr.Dataset, axes: xr.Dataset, chosen: list[int], color: str) -> None:
    place = _projected(points["state"].transpose("fixed_point", "unit").values, axes, chosen)
    low, high = ax.get_xlim()
    length = ARROW * (high - low)
    if "eigenvector_real" in points:
        basis = axes["principal_axis"].transpose("component", "unit").values[chosen]
        vectors = points["eigenvector_real"].transpose("fixed_point", "eigenvector", "unit").values @ basis.T
        counts = points["unstable_dimensions"].values.clip(max=vectors.shape[1])
        for start, ways, count in zip(place, vectors, counts, strict=True):
            for way in ways[:count]:
                for sign in (-1, 1):
                    end = start + sign * length * way
                    ax.annotate("", end, start, arrowprops=ARROWS, zorder=3)
    mark_points(ax, points, place, color)


def mark_points(ax: Axes, points: xr.Dataset, place: NDArray[np.float64], color: str) -> None:
    """Draw points at their places (P, 2), with markers by their kind and edges of a colour."""
    for kind, which in kinds(points).items():
        if which.any():
            style: Mapping[str, Any] = {"markeredgecolor": color, "markersize": 5, "zorder": 4, **KINDS[kind]}
            ax.plot(*place[which].T, linestyle="none", label=f"{kind} point", **style)


def kinds(points: xr.Dataset) -> dict[str, NDArray[np.bool_]]:
    """Return by kind which points are stable, unstable, undecided or slow."""
    slow = points["slow"].values > 0
    stable = points["stable"].values > 0
    unstable = (points["unstable_dimensions"].values > 0) & ~slow & (points["on_kink"].values == 0)
    return {"stable": stable, "unstable": unstable, "undecided": ~(slow | stable | unstable), "slow": slow}
