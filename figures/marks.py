"""Marks beside the data: where diverged trainings ended, and names of values in the right margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

CROSS: Mapping[str, Any] = {"marker": "x", "markersize": 6, "markeredgewidth": 1.2, "clip_on": False, "zorder": 4}


def mark_diverged(ax: Axes, training: xr.Dataset, color: str) -> int:
    """A cross at the last evaluation of every diverged run.

    Args:
        ax: To draw on.
        training: As `wcrnn_models.sweeps.collect` gives it, selected down to the dimensions ``seed`` and ``iteration``.
        color: Of the runs' line.

    Returns:
        How many crosses.
    """
    ended = training.isel(seed=np.flatnonzero(training.status.values == "diverged"))
    for metric in ended.test_metric.transpose("seed", "iteration"):
        last = metric.dropna("iteration")[-1]
        ax.plot([float(last.iteration)], [float(last)], **CROSS, color=color)
    return int(ended.sizes["seed"])


def margin_label(ax: Axes, value: float, text: str, *, color: str = "0.15") -> None:
    """Write text right of the axes at the height of a value, where no data can be covered."""
    ax.annotate(
        text,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        va="center",
        color=color,
        fontsize=6,
    )
