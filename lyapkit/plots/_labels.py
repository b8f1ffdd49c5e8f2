"""What all plots share: the axes to draw on, and labels from the variables' own attributes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes


def axes_or_new(ax: Axes | None) -> Axes:
    """The given axes, or those of a new figure."""
    return plt.figure().add_subplot() if ax is None else ax


def label(variable: xr.DataArray) -> str:
    """``long_name (units)``; without units where they are 1."""
    units = variable.attrs["units"]
    return variable.attrs["long_name"] if units == "1" else f"{variable.attrs['long_name']} ({units})"


def check_analysis(dataset: xr.Dataset, analysis: str) -> None:
    """Refuse the result of another analysis.

    Raises:
        ValueError: names what is needed and what was given.
    """
    found = dataset.attrs.get("analysis")
    if found != analysis:
        raise ValueError(f"this plot draws the result of {analysis}, got {found or 'a Dataset without provenance'}.")


def check_trajectory(dataset: xr.Dataset, trajectory: int) -> None:
    """Refuse a trajectory that is not there.

    Raises:
        ValueError: names the range.
    """
    if trajectory not in dataset["trajectory"].values:
        raise ValueError(f"trajectory must be in 0..{dataset.sizes['trajectory'] - 1}, got {trajectory}.")
