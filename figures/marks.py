"""Learning curves, with marks of networks that diverged or ended at chance, and names of values in the margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures.missing import recorded
from figures.report.compare import learnt
from figures.style import band

CROSS: Mapping[str, Any] = {"marker": "x", "markersize": 6, "markeredgewidth": 1.2, "clip_on": False, "zorder": 4}

BEST_CONSTANT = float(np.sqrt(1 / 6))
"""RMS of the best constant answer to the adding problem: the standard deviation of a sum of two numbers that are
uniform in [0, 1]."""

LOSS_LOST = 1000.0
"""Training loss above which a network counts as lost: saturated, whatever its test metric."""

AT_CHANCE: Mapping[str, Any] = {"linestyle": (0, (1, 1.5)), "alpha": 0.5, "gid": "at chance"}
"""Style of lines of networks that ended at chance: dotted and pale."""

CHANCE_NAME = "ended at chance"
"""Name of those networks in legends."""


def ended_at_chance(training: xr.Dataset) -> xr.DataArray:
    """Tell which trainings ended without having learnt anything that lasted; False for those that have not ended.

    Their last recorded test metric is no better than what `figures.report.compare.learnt` asks of the best one, or
    their last training loss exceeds `LOSS_LOST`.

    Args:
        training: Result of `figures.campaign.results.training_results`.
    """
    lasting = learnt(training.assign(best_metric=_last(training.test_metric)))
    lost = ~lasting | (_last(training.train_loss) > LOSS_LOST)
    found: xr.DataArray = lost & (training.status != "waiting")
    return found


def _last(values: xr.DataArray) -> xr.DataArray:
    """Return the last number of every run that is not NaN; NaN where there is none."""
    if not values.sizes["iteration"]:
        return values.sum("iteration") * np.nan
    number = xr.DataArray(np.arange(values.sizes["iteration"]), dims="iteration")
    place = (number * values.notnull()).astype(int)
    return values.isel(iteration=place.max("iteration")).drop_vars("iteration")


def learning_curve(ax: Axes, training: xr.Dataset, color: str, label: str | None = None, **line: Any) -> bool:
    """Draw the test metric over training, mean and range over seeds, and a cross where a run diverged.

    Args:
        ax: Axes to draw on.
        training: Result of `figures.campaign.results.training_results`, selected down to the dimensions ``seed`` and
            ``iteration``. If all of them ended at chance, the line looks like `AT_CHANCE`.
        color: Colour of everything.
        label: Text in the legend.
        line: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        Whether any training has ended, so that there was something to draw.
    """
    training = recorded(training)
    if not training.sizes["seed"]:
        return False
    training = training.dropna("iteration", how="all", subset=["test_metric"])
    style = {**line, **(AT_CHANCE if bool(ended_at_chance(training).all()) else {})}
    band(ax, training.iteration.values, training.test_metric, color=color, label=label, **style)
    mark_diverged(ax, training, color)
    return True


def crossed(*axes: Axes) -> str:
    """Return the caption's text on crosses, if there are any."""
    return "crosses: diverged" if any(line.get_marker() == CROSS["marker"] for ax in axes for line in ax.lines) else ""


def partly_at_chance(training: xr.Dataset, name: str) -> str:
    """Return the caption's text on curves of which some instances ended at chance, and others not.

    Args:
        training: Trainings over ``seed`` and one more dimension.
        name: Name of that dimension, as it is written before its values.
    """
    (over,) = (str(dim) for dim in training.test_metric.dims if dim not in ("seed", "iteration"))
    lost = ended_at_chance(training).sum("seed")
    ended = (training.status != "waiting").sum("seed")
    parts = [
        f"{int(lost.sel({over: value}))} of {int(ended.sel({over: value}))} at {name} = {value:g}"
        for value in training[over].values
        if 0 < int(lost.sel({over: value})) < int(ended.sel({over: value}))
    ]
    return f"{CHANCE_NAME}: {', '.join(parts)}" if parts else ""


def legend_entries(*axes: Axes) -> tuple[list[Artist], list[str]]:
    """Return handles and names of all lines, equal names once; the meaning of dotted, pale lines comes last.

    Lines of networks that ended at chance have a solid handle, as their colour stands for the same in other panels.
    """
    handles: dict[str, Artist] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            if isinstance(handle, Line2D) and handle.get_gid() == AT_CHANCE["gid"]:
                style: dict[str, Any] = {"color": handle.get_color(), "marker": handle.get_marker(), "markersize": 3.5}
                handle = Line2D([], [], linewidth=handle.get_linewidth(), **style)
            handles.setdefault(name, handle)
    if any(line.get_gid() == AT_CHANCE["gid"] for ax in axes for line in ax.lines):
        handles[CHANCE_NAME] = Line2D([], [], color="0.15", linewidth=1.0, **AT_CHANCE)
    return list(handles.values()), list(handles)


def mark_diverged(ax: Axes, training: xr.Dataset, color: str) -> None:
    """Draw a cross at the last evaluation of every diverged run.

    Args:
        ax: Axes to draw on.
        training: As for `learning_curve`.
        color: Colour of the runs' line.
    """
    ended = training.isel(seed=np.flatnonzero(training.status.values == "diverged"))
    for metric in ended.test_metric.transpose("seed", "iteration"):
        last = metric.dropna("iteration")[-1]
        ax.plot([float(last.iteration)], [float(last)], **CROSS, color=color)


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
