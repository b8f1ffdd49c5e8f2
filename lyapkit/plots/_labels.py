"""What all plots share: the axes to draw on, and labels from the variables' own attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib import cbook
from matplotlib.axes import Axes
from matplotlib.lines import Line2D


def axes_or_new(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure."""
    return plt.figure(layout="constrained").add_subplot() if ax is None else ax


def with_defaults(line: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """The user's line properties over our own, whichever of matplotlib's names (``lw``, ``linewidth``) they use."""
    return {**defaults, **cbook.normalize_kwargs(dict(line), Line2D)}


def next_color(ax: Axes) -> Any:
    """The next colour of the axes' cycle, for several lines that share it."""
    (line,) = ax.plot([], [])
    line.remove()
    return line.get_color()


def spread_ranks(count: int, lines: int) -> list[int]:
    """At most ``lines`` of the positions 0, ..., count - 1, evenly spread with first and last included.

    Raises:
        ValueError: ``lines`` is below 1.
    """
    if lines < 1:
        raise ValueError(f"lines must be at least 1, got {lines}.")
    chosen: list[int] = np.unique(np.linspace(0, count - 1, lines).round().astype(int)).tolist()
    return chosen


def label(variable: xr.DataArray) -> str:
    """``long_name (units)``; without units where they are 1."""
    units = variable.attrs["units"]
    return variable.attrs["long_name"] if units == "1" else f"{variable.attrs['long_name']} ({units})"


def check_analysis(dataset: xr.Dataset, analysis: str) -> None:
    """Refuse the result of another analysis.

    Raises:
        TypeError: it is not a Dataset.
        ValueError: names what is needed and what was given.
    """
    if not isinstance(dataset, xr.Dataset):
        raise TypeError(f"this plot draws the Dataset that {analysis} returns, got {type(dataset).__name__}.")
    found = dataset.attrs.get("analysis")
    if found != analysis:
        got = found or "a Dataset without provenance"
        raise ValueError(f"this plot draws the result of {analysis}, got {got}.")


def check_trajectory(dataset: xr.Dataset, trajectory: int | None) -> None:
    """Refuse a trajectory that is not there; None stands for all of them.

    Raises:
        ValueError: names those that are.
    """
    if "trajectory" not in dataset.dims:
        raise ValueError("the Dataset has no trajectory dimension; select with a list, .isel(trajectory=[0]).")
    there = dataset["trajectory"].values.tolist()
    if trajectory is not None and trajectory not in there:
        found = ", ".join(map(str, there if len(there) <= 6 else [*there[:5], "...", there[-1]]))
        raise ValueError(f"trajectory must be one of {found}; got {trajectory!r}.")
