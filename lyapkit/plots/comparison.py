"""Plot of the comparison of two networks: differences of exponents, and angles between subspaces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, check_names, comparable, legend_once
from lyapkit.plots._labels import LINE, Ranks, axes_or_new, mark_at_edge, one_result, with_defaults
from lyapkit.results.verdicts import DIFFERS, verdict_of_comparison

QUIET = "0.55"
"""Colour of what is not told from 0."""

UNTOLD, UNDETERMINED = "not told from 0", "not determined"
MARKS: dict[str, dict[str, Any]] = {
    UNTOLD: {"marker": "o", "markerfacecolor": "white", "zorder": 2.1},
    UNDETERMINED: {"marker": "x"},
}
"""Markers of values that do not differ, by their text in the legend."""

EQUAL, UNSETTLED = ("not told from 0", "equal to rounding", "run too short"), ("alignment open", "not settled")
"""The verdicts that these stand for."""


@named_arguments(LINE)
def comparison(ds: Results, *, axes: Sequence[Axes] | None = None, **line: Any) -> tuple[Axes, Axes]:
    """Draw how two networks differ: their exponents by rank, and the angles between their leading subspaces.

    Args:
        ds: Result of `lyapkit.compare`, or ``{name: result}`` of several.
        axes: Two axes to draw on; a new figure of twice the usual width by default.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color``, ``label`` or ``marker``.

    Returns:
        The two axes. Bars are 95 % intervals; unknown ones are not drawn. Markers follow the verdict of
        `lyapkit.summary`: filled where it is "differs", a cross where the states do not determine an angle (not
        settled, alignment open), and open otherwise. Open markers and crosses of a single result are grey.

        - Left: exponent of a minus that of b. Where one network annihilates a direction and the other does not, a
          triangle at the edge says which.
        - Right: the largest angle between the spans of the j leading vectors, against j. It is 0 where they lie along
          the same directions. Dashed is a right angle, to which those of random vectors of many dimensions come close.

    Raises:
        ValueError: If a result is another analysis', or there are not two axes.

    Example:
        >>> import lyapkit, torch
        >>> a, b = torch.nn.GRU(2, 4).double(), torch.nn.GRU(2, 6).double()
        >>> ds = lyapkit.compare(a, b, torch.randn(200, 5, 2).double(), rng=0)
        >>> left, right = lyapkit.plots.comparison(ds)
        >>> left.get_xlabel(), right.get_xlabel()
        ('rank of the exponent', 'number of leading vectors $j$')
    """
    results: Mapping[str, Any] = ds if isinstance(ds, dict) else {"": ds}
    check_names(results, line if isinstance(ds, dict) else {})
    for result in results.values():
        _exponents(result), _angles(result)
    if axes is None:
        width, height = mpl.rcParams["figure.figsize"]
        axes = plt.figure(figsize=(2 * width, height), layout="constrained").subplots(1, 2)
    if np.ndim(axes) != 1 or len(axes) != 2:  # type: ignore[arg-type]
        raise ValueError(f"axes must be two, for exponents and angles, got {np.size(axes)}.")  # type: ignore[arg-type]
    return exponent_differences(ds, ax=axes[0], **line), subspace_angles(ds, ax=axes[1], **line)


@named_arguments(LINE)
@comparable
def exponent_differences(ds: Results, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the left panel of `comparison`."""
    ds = _exponents(ds)
    ax = axes_or_new(ax)
    rank, value = ds["exponent"].values, ds["exponent_difference"].values
    color = _draw(ax, rank, ds, "exponent_difference", line)
    mark_at_edge(ax, rank[np.isneginf(value)], color, "-inf: annihilated in a")
    mark_at_edge(ax, rank[np.isposinf(value)], color, "inf: annihilated in b", is_upper=True)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.xaxis.set_major_locator(Ranks())
    ax.set_xlabel("rank of the exponent")
    units = ds["exponent_difference"].attrs["units"]
    ax.set_ylabel(rf"$\lambda_i^a - \lambda_i^b$ ({units})")
    return ax


@named_arguments(LINE)
@comparable
def subspace_angles(ds: Results, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the right panel of `comparison`."""
    ds = _angles(ds)
    ax = axes_or_new(ax)
    _draw(ax, ds["subspace"].values, ds, "principal_angle", line)
    if not ax.get_ylabel():
        for level, style in ((0, "-"), (math.pi / 2, (0, (4, 2)))):
            ax.axhline(level, color="0.6", linewidth=0.6, linestyle=style, zorder=0)
    ax.set_ylim(-0.04 * math.pi, 0.54 * math.pi)
    ax.set_yticks([0, math.pi / 4, math.pi / 2], ["0", "π/4", "π/2"])
    ax.xaxis.set_major_locator(Ranks())
    ax.set_xlabel("number of leading vectors $j$")
    ax.set_ylabel("largest angle between subspaces (rad)")
    return ax


def _exponents(result: Any) -> xr.Dataset:
    return one_result(result, "compare", "exponent_difference", "exponent")


def _angles(result: Any) -> xr.Dataset:
    """Return the part of the result about the largest angle of each subspace."""
    ds = one_result(result, "compare", "principal_angle", "subspace", "angle_rank")
    j = ds["subspace"]
    return ds.sel(subspace=j, angle_rank=j)


def _draw(ax: Axes, x: NDArray[np.int64], ds: xr.Dataset, name: str, line: Mapping[str, Any]) -> Any:
    """Draw values with their intervals, marked by their verdicts, and return the colour of those that differ."""
    value, low, high = (ds[f"{name}{part}"].values for part in ("", "_low", "_high"))
    bounded = np.isfinite(low) & np.isfinite(high)
    said = verdict_of_comparison(ds, name).values
    style = with_defaults(line, marker="o", markersize=3.5, linestyle="none")
    quiet = style.get("color", QUIET)
    groups = {None: said == DIFFERS, UNTOLD: np.isin(said, EQUAL), UNDETERMINED: np.isin(said, UNSETTLED)}
    color, found = None, set()
    for text, holds in groups.items():
        own = style if text is None else {**style, "color": quiet, "label": None, **MARKS[text]}
        shown = holds & np.isfinite(value)
        (drawn,) = ax.plot(x[shown], value[shown], **own)
        color = drawn.get_color() if text is None else color
        ax.vlines(x[shown & bounded], low[shown & bounded], high[shown & bounded], color=drawn.get_color(), lw=0.8)
        if text is not None and shown.any():
            found.add(text)
    _explain(ax, found)
    return color


def _explain(ax: Axes, found: set[str]) -> None:
    """Explain markers at the end of the legend, besides those that it explains already."""
    for drawn in [drawn for drawn in ax.lines if drawn.get_label() in MARKS]:
        found.add(str(drawn.get_label()))
        drawn.remove()
    for text in MARKS:
        if text in found:
            ax.plot([], [], linestyle="none", **{**MARKS[text], "color": QUIET, "markersize": 3.5, "label": text})
            legend_once(ax)
