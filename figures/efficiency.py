"""Best performance and learning efficiency against a property of the residual, as Figs. 3, 4 and 6 draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from figures.protocols import CHARACTERISTIC_FREQUENCY
from figures.style import CHARACTERISTIC_COLOR, band, direct_label

TASK_NAMES: Mapping[str, str] = {"smnist": "sMNIST", "psmnist": "psMNIST"}

TASK_STYLES: Mapping[str, Mapping[str, Any]] = {
    "smnist": {"linestyle": "-", "marker": "o"},
    "psmnist": {"linestyle": "--", "marker": "s", "markersize": 4.2},
}
"""Lines and markers of the data sets, so that one is seen below the other."""

OPEN = "open, not connected: MP not reached by every instance, which then counts with all its iterations (section 4.1)"
"""What captions say of the open points of `iterations_to_minimal_performance`."""


ACCURACIES = (0, 1.1)
"""Limits of axes of accuracies, with room for a label above the data."""


def best_metric(ax: Axes, training: xr.Dataset, over: str, *, color: str, label: str, **line: Any) -> None:
    """The best test metric, mean and range over seeds.

    Args:
        ax: To draw on.
        training: As `wcrnn_models.sweeps.collect` gives it, over ``seed`` and one more dimension.
        over: That dimension, such as ``"r"``; it is on the horizontal axis.
        color: Of line and shading.
        label: In the legend.
        line: Passed on to `matplotlib.axes.Axes.plot`.
    """
    band(ax, training[over].values, training.best_metric, color=color, label=label, **{"marker": "o", **line})


def iterations_to_minimal_performance(
    ax: Axes, training: xr.Dataset, over: str, *, color: str, label: str, **line: Any
) -> None:
    """Iterations to minimal performance (MP): means over seeds, and their range as a bar at each.

    Where a run did not reach it, the number is a limit of the measurement: points are open, and no line leads to them.

    Args:
        ax: To draw on; its vertical axis becomes logarithmic.
        training: As for `best_metric`.
        over: As for `best_metric`.
        color: Of line, points and bars.
        label: In the legend.
        line: Passed on to `matplotlib.axes.Axes.plot`.
    """
    counted, x = training.iterations_to_minimal_performance, training[over].values
    mean = counted.mean("seed")
    reached = (training.reached_minimal_performance == 1).all("seed")
    style = {"marker": "o", **line, "color": color}
    ax.plot(x, mean.where(reached), label=label, **style)
    if not bool(reached.all()):
        ax.plot(x, mean.where(~reached), **{**style, "linestyle": "", "markerfacecolor": "none"})
    if counted.sizes["seed"] > 1:
        ax.vlines(x, counted.min("seed"), counted.max("seed"), color=color, linewidth=0.8)
    ax.set(yscale="log", ylabel="iterations to MP")


def characteristic_lines(ax: Axes, highest: float) -> None:
    """A dashed green line at the characteristic frequency of sMNIST, and thin ones at its harmonics.

    Args:
        ax: To draw on; angular frequencies are on its horizontal axis.
        highest: Angular frequency up to which harmonics are drawn.
    """
    ax.margins(y=0.15)  # room for the label
    direct_label(ax, CHARACTERISTIC_FREQUENCY, r"$\phi_c$", axis="x", color=CHARACTERISTIC_COLOR)
    for multiple in range(2, math.floor(highest / CHARACTERISTIC_FREQUENCY + 1e-6) + 1):  # also where rounded down
        ax.axvline(
            multiple * CHARACTERISTIC_FREQUENCY,
            color=CHARACTERISTIC_COLOR,
            linewidth=0.4,
            linestyle=(0, (4, 2)),
            zorder=1,
        )


def legend_above(ax: Axes, handlelength: float = 2.0) -> None:
    """A legend in one line above the axes, beside the letter of the panel, where it covers nothing.

    Args:
        ax: With labelled lines.
        handlelength: Of the lines shown, in font sizes; 4 where dashes must be seen beside markers.
    """
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles,
        labels,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
        ncols=len(labels),
        columnspacing=1.2,
        handlelength=handlelength,
        fontsize=6,
    )


def counted(iterations: int) -> str:
    """A number of iterations for captions, such as ``12 000 iterations``."""
    return f"{iterations:,} iterations".replace(",", "\N{NARROW NO-BREAK SPACE}")
