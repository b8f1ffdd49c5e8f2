"""Best performance and learning efficiency against a property of the residual, as Figs. 3, 4 and 6 draw them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures.marks import AT_CHANCE, legend_entries
from figures.missing import recorded
from figures.paper import CHARACTERISTIC_FREQUENCY
from figures.report.compare import learnt
from figures.scales import logarithmic
from figures.style import CHARACTERISTIC_COLOR, band, direct_label

TASK_NAMES: Mapping[str, str] = {"smnist": "sMNIST", "psmnist": "psMNIST"}

TASK_STYLES: Mapping[str, Mapping[str, Any]] = {
    "smnist": {"linestyle": "-", "marker": "o"},
    "psmnist": {"linestyle": "--", "marker": "s", "markersize": 4.2},
}
"""Lines and markers of the data sets, so that one is seen below the other."""

ANGLE = r"angular frequency $\phi_0$ (radians per step)"
"""Label of axes of angles."""

OPEN = (
    "open triangles: MP not reached by every instance, so that the mean is a lower limit; "
    "those that did not reach it count with all their iterations (section 4.1), those that did are small points"
)
"""Text of captions about the triangles of `iterations_to_minimal_performance`."""

LIMIT: Mapping[str, Any] = {"linestyle": "", "marker": "^", "markerfacecolor": "none"}
"""Style of those triangles."""

LIMIT_NAME = "lower limit: MP not reached"

ACCURACIES = (0, 1.1)
"""Limits of axes of accuracies, with room for a label above the data."""

ACCURACY_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)
"""Ticks of axes of accuracies."""


def best_metric(ax: Axes, training: xr.Dataset, over: str, *, color: str, label: str, **line: Any) -> None:
    """Draw the best test metric, mean and range over seeds; dotted, pale and open where no instance learnt anything.

    Args:
        ax: Axes to draw on.
        training: Result of `figures.campaign.results.training_results`, over ``seed`` and one more dimension.
        over: That dimension, such as ``"r"``; it is on the horizontal axis.
        color: Colour of line and shading.
        label: Text in the legend.
        line: Passed on to `matplotlib.axes.Axes.plot`.
    """
    training = recorded(training)
    style, x = {"marker": "o", **line}, training[over].values
    band(ax, x, training.best_metric, color=color, label=label, **style)
    some = learnt(training).any("seed")
    if not bool(some.all()):
        mean = training.best_metric.mean("seed")
        ax.lines[-1].set_ydata(mean.where(some))
        ax.plot(x, mean, color=color, **{**style, **AT_CHANCE, "markerfacecolor": "white", "zorder": 1.9})


def iterations_to_minimal_performance(
    ax: Axes, training: xr.Dataset, over: str, *, color: str, label: str, **line: Any
) -> None:
    """Draw iterations to minimal performance (MP): means over seeds, and their range as a bar at each.

    Where an instance did not reach it, the mean is a lower limit: an open triangle, and no line leads there. Those
    instances that reached it there are small points.

    Args:
        ax: Axes to draw on; its vertical axis becomes logarithmic.
        training: As for `best_metric`.
        over: As for `best_metric`.
        color: Colour of line, points and bars.
        label: Text in the legend.
        line: Passed on to `matplotlib.axes.Axes.plot`.
    """
    training = recorded(training)
    counted, x = training.iterations_to_minimal_performance, training[over].values
    mean, each = counted.mean("seed"), training.reached_minimal_performance == 1
    reached = (each | (training.status == "waiting")).all("seed")
    style = {"marker": "o", **line, "color": color}
    ax.plot(x, mean.where(reached), label=label, **style)
    if not bool(reached.all()):
        ax.plot(x, mean.where(~reached), **{**style, **LIMIT})
        some = counted.where(each & ~reached).transpose("seed", over)
        if bool(some.notnull().any()):
            ax.plot(np.tile(x, some.sizes["seed"]), some.values.ravel(), color=color, linestyle="", marker=".")
    if counted.sizes["seed"] > 1:
        ax.vlines(x, counted.min("seed"), counted.max("seed"), color=color, linewidth=0.8)
    logarithmic(ax)
    ax.set_ylabel("iterations to MP")


def explain_limits(ax: Axes) -> None:
    """Explain the triangles of `iterations_to_minimal_performance` above the axes, if there are any."""
    if any(line.get_marker() == LIMIT["marker"] for line in ax.lines):
        handle = Line2D([], [], color="0.15", **LIMIT)
        ax.legend([handle], [LIMIT_NAME], loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, fontsize=6)


def characteristic_lines(ax: Axes, highest: float) -> None:
    """Draw a dashed green line at the characteristic frequency of sMNIST, and thin ones at its harmonics.

    Args:
        ax: Axes to draw on; angular frequencies are on its horizontal axis.
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


def legend_above(ax: Axes, handlelength: float = 2.0, columns: int = 4) -> None:
    """Draw a legend above the axes, beside the letter of the panel, where it covers nothing.

    Args:
        ax: Axes with labelled lines.
        handlelength: Length of the lines shown, in font sizes; 4 where dashes must be seen beside markers.
        columns: Number of entries in a line.
    """
    handles, labels = legend_entries(ax)
    ax.legend(
        handles,
        labels,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
        ncols=columns,
        columnspacing=1.2,
        handlelength=handlelength,
        fontsize=6,
    )


def counted(iterations: int) -> str:
    """Format a number of iterations for captions, such as ``12 000 iterations``."""
    return f"{iterations:,} iterations".replace(",", "\N{NARROW NO-BREAK SPACE}")
