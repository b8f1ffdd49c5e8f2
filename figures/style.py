"""Style shared by all figures: widths, colours, panel letters and titles, captions, and reproducible files."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

STYLE = "lyapkit.plots.paper"

ONE_COLUMN = 90 / 25.4
"""Width of one column of the journal, in inches."""

TWO_COLUMNS = 190 / 25.4
"""Width of two columns of the journal, in inches."""

CAPTION_SIZE = 6
"""Font size of the caption line, in points."""

_CHARACTERS = 160 / TWO_COLUMNS  # of the caption line to an inch; its widest letters take more than the average

_ANCHORS: tuple[tuple[float, str], ...] = (
    (0.90, "#08306b"),
    (0.95, "#2166ac"),
    (0.995, "#56b4e9"),
    (1.0, "#4d4d4d"),
    (1.0025, "#e69f00"),
)
_ANCHORS += ((1.01, "#d55e00"), (1.03, "#7f0000"))
_LOWEST, _HIGHEST = _ANCHORS[0][0], _ANCHORS[-1][0]
_STRENGTHS = LinearSegmentedColormap.from_list(
    "strengths", [((r - _LOWEST) / (_HIGHEST - _LOWEST), color) for r, color in _ANCHORS], N=1300
)

TASK_COLORS: Mapping[str, str] = {"smnist": "#0072B2", "psmnist": "#CC79A7", "scifar10": "#009E73"}
"""Colours of the data sets."""

CHARACTERISTIC_COLOR = "#009E73"
"""Colour of the line at the characteristic frequency, green as in the paper."""


def strength_color(r: float) -> str:
    """Return the colour of a residual connection strength: blue if subcritical, grey at 1, orange to red beyond."""
    return to_hex(_STRENGTHS((min(max(r, _LOWEST), _HIGHEST) - _LOWEST) / (_HIGHEST - _LOWEST)))


def strength_label(r: float) -> str:
    """Return the paper's name for the four networks of Fig. 2, and plain ``r = ...`` for others."""
    names = {
        0.95: "strongly subcritical",
        0.995: "weakly subcritical",
        1.0025: "critical",
        1.01: "strongly supercritical",
    }
    return f"{names[r]}, $r={r:g}$" if r in names else f"$r={r:g}$"


def panels(
    rows: int, columns: int, *, width: float = TWO_COLUMNS, height: float = 2.3, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with lettered axes.

    Args:
        rows: Number of rows of axes.
        columns: Number of columns of axes.
        width: Width of the figure, in inches.
        height: Height of one row, in inches.
        kwargs: Passed on to `matplotlib.figure.Figure.subplots`.

    Returns:
        The figure and its axes, row by row, with the letters A, B, ... where there is more than one.
    """
    figure = plt.figure(figsize=(width, height * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, **kwargs)).ravel())
    if len(axes) > 1:
        for letter, ax in zip("ABCDEFGHIJKLMNOP", axes, strict=False):
            ax.set_title(letter, loc="left", fontweight="bold")
    return figure, axes


def title(ax: Axes, text: str, **style: Any) -> None:
    """Write the title of a panel, in the middle above it; the letter is at the left."""
    ax.set_title(text, loc="center", **style)


def side_by_side(ax: Axes, count: int) -> list[Axes]:
    """Replace axes by narrow ones with one vertical axis, for lines that would cover each other.

    Args:
        ax: Axes of a grid; removed. Their letter goes to the first of the narrow ones.
        count: Number of narrow axes.

    Returns:
        The narrow axes, from left to right.
    """
    figure, letter, place = ax.figure, ax.get_title(loc="left"), ax.get_subplotspec()
    if place is None:
        raise ValueError("ax must be of a grid, as `panels` makes it.")
    ax.remove()
    narrow: list[Axes] = []
    grid = place.subgridspec(1, count, wspace=0.08)
    for number in range(count):
        part = grid[0, number]
        narrow.append(figure.add_subplot(part, sharey=narrow[0] if narrow else None))
        narrow[-1].tick_params(labelleft=len(narrow) == 1, left=len(narrow) == 1)
    narrow[0].set_title(letter, loc="left", fontweight="bold")
    return narrow


def draw_caption(figure: Figure, text: str) -> None:
    """Write a text below the figure, in lines that fit."""
    lines = wrapped(text, int(_CHARACTERS * figure.get_figwidth()))
    figure.supxlabel(lines, x=0.995, ha="right", fontsize=CAPTION_SIZE, color="0.15")


def notes(*parts: str) -> str:
    """Join the parts of a caption, without those that are empty."""
    return "; ".join(part for part in parts if part)


def over_seeds(drawn: Mapping[str, xr.Dataset]) -> str:
    """Return the caption's text on lines that `band` draws; empty where there is one network instance only.

    Args:
        drawn: Trainings by the letter of the panel that shows them.

    Returns:
        A text such as ``A, C: mean and range over seeds``.

    Example:
        >>> over_seeds({"A": xr.Dataset({"best_metric": ("seed", [0.4, 0.6])})})
        'A: mean and range over seeds'
    """
    several = [panel for panel, each in drawn.items() if each.sizes["seed"] > 1]
    return f"{', '.join(several)}: mean and range over seeds" if several else ""


def wrapped(text: str, characters: int) -> str:
    """Break a caption into lines after sentences and after parts between semicolons, so that formulas stay whole."""
    lines = [""]
    for part in re.split(r"(?<=[.;]) ", text):
        joined = f"{lines[-1]} {part}".lstrip()
        if len(joined) > characters and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = joined
    return "\n".join(lines)


def band(ax: Axes, x: Sequence[float] | NDArray[Any], values: xr.DataArray, over: str = "seed", **line: Any) -> None:
    """Draw the mean over network instances as a line, and the range from minimum to maximum shaded, as in the paper.

    Args:
        ax: Axes to draw on.
        x: Abscissae, along the other dimension of ``values``.
        values: Two-dimensional; NaN where a run had ended.
        over: The dimension of the instances.
        line: Passed on to `matplotlib.axes.Axes.plot`.
    """
    (drawn,) = ax.plot(x, values.mean(over), **line)
    if values.sizes[over] > 1:
        ax.fill_between(x, values.min(over), values.max(over), color=drawn.get_color(), alpha=0.2, linewidth=0)


def direct_label(ax: Axes, value: float, text: str, *, axis: str = "y", color: str = "0.15") -> None:
    """Draw a dashed reference line across the axes with its name written on it."""
    if axis == "y":
        ax.axhline(value, color=color, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.annotate(
            text,
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            color=color,
        )
    else:
        ax.axvline(value, color=color, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        ax.annotate(
            text,
            (value, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -2),
            textcoords="offset points",
            va="top",
            color=color,
        )


def write(figure: Figure, path: Path) -> list[Path]:
    """Save as PDF with embedded fonts and as PNG; equal data give equal bytes.

    Args:
        figure: Figure to save.
        path: Path without suffix.

    Returns:
        The files.
    """
    written = []
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        target = path.with_name(path.name + suffix)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=suffix)
        os.close(handle)
        try:
            figure.savefig(temporary, metadata=metadata)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        written.append(target)
    plt.close(figure)
    return written


def scientific(value: float, digits: int = 2) -> str:
    """Return a number as the paper's tables write it, such as 2.0e-5 as ``2.0 · 10⁻⁵``."""
    if not math.isfinite(value):
        return "fail"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding, which may carry into the next power
    superscript = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value / 10**exponent:.{digits - 1}f} · 10{superscript}"
