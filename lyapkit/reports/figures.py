"""Figures of a page, as data within it."""

from __future__ import annotations

import inspect
import itertools
import warnings
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lyapkit.plots import exponents_over_checkpoints, running_exponents
from lyapkit.plots.exponents_over_checkpoints import TIMES
from lyapkit.plots.overview import PANELS
from lyapkit.reports.tables import case_name, joined_dims

SIZE, DPI = (4.4, 3.1), 300
"""Inches and dots per inch: sharp at twice the width that the page gives a figure, with letters of 9 pixels on a phone.
Pixels, since the size of a vector figure has no bound."""

MOST_LINES = 6
"""Joined results that are drawn on the same axes; more than the palette tells apart is no use."""

LONGEST_NAME, LONGEST_LABEL = 40, 90
"""Characters of a name and of an axis in a figure; longer ones leave no room for what is drawn."""


@dataclass(frozen=True)
class Drawing:
    """A figure within the page.

    Attributes:
        uri: Its data.
        caption: What it shows.
        alternative: The same for those who do not see it.
        width, height: Its size in pixels.
    """

    uri: str
    caption: str
    alternative: str
    width: int
    height: int


def plots_of(result: xr.Dataset) -> dict[str, Callable[..., Axes]]:
    """Return the plots that show a result, by their captions."""
    analysis = result.attrs["analysis"]
    plots = dict(zip(CAPTIONS[analysis], PANELS[analysis], strict=True))
    if analysis == "lyapunov_spectrum":
        if "running_exponent" in result:
            plots["Exponents as the run goes on: lines that still slope at the end need a longer run"] = (
                running_exponents
            )
        if set(TIMES) & set(result.dims):
            plots["Exponents along the training"] = exponents_over_checkpoints
    return plots


CAPTIONS = {
    "lyapunov_spectrum": ("Exponents by rank, with their standard errors",),
    "variational_term": ("Finite-time exponents as the stretch grows",),
    "covariant_vectors": ("Angles between covariant vectors",),
    "gradient_propagation": ("Norm of the gradient at every step",),
    "hessian_spectrum": ("Eigenvalues by rank",),
    "spectral_density": ("Density of the eigenvalues",),
    "curvature_by_step": ("Share of every step in the curvature",),
    "states": ("Trajectories along the first two principal axes",),
    "jacobians": ("Eigenvalues of the Jacobians, with the unit circle",),
    "fixed_points": ("Eigenvalues at the points, with the unit circle",),
    "compare": (
        "Differences of exponents by rank, with 95 % intervals",
        "Largest angle between the leading subspaces of both networks, with 95 % intervals: 0 where they lie along "
        "the same directions; dashed, a right angle",
    ),
}
"""The captions of the plots of each analysis."""


def draw(result: xr.Dataset, caption: str, plot: Callable[..., Axes]) -> Drawing:
    """Draw a result, whatever names it holds and whatever style is set.

    Args:
        result: The Dataset of an analysis, also of several joined along seeds or epochs.
        caption: What the plot shows.
        plot: The plot.

    Raises:
        ValueError: If the result lacks what the plot shows.
    """
    shown = _with_tame_names(result)
    dims = joined_dims(shown)
    if plot is exponents_over_checkpoints:
        dims = [name for name in dims if name not in TIMES]
    options: dict[str, Any] = {}
    parameters = inspect.signature(plot).parameters
    if "trajectory" in parameters and parameters["trajectory"].default == 0:
        options["trajectory"] = shown["trajectory"].values.tolist()[0]
        caption += f", of trajectory {result['trajectory'].values.tolist()[0]}"
    drawn: Any = shown
    if dims:
        cases = list(itertools.product(*(range(shown.sizes[name]) for name in dims)))
        chosen = np.unique(np.linspace(0, len(cases) - 1, MOST_LINES).round().astype(int))
        if plot is exponents_over_checkpoints:
            chosen = chosen[:1]
        parts = [dict(zip(dims, cases[place], strict=True)) for place in chosen]
        drawn = {case_name(dims, [shown[name].values[part[name]] for name in dims]): shown.isel(part) for part in parts}
        if len(cases) > len(parts):
            caption += f", of {len(parts)} of the {len(cases)} joined results"
        if plot is exponents_over_checkpoints:
            (drawn,) = drawn.values()
    with mpl.style.context(["default", "lyapkit.plots.paper"]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = plot(drawn, ax=figure.add_subplot(), **options)
        content = BytesIO()
        figure.savefig(content, format="png", dpi=DPI, facecolor="white")
        width, height = (round(DPI * inches) for inches in SIZE)
    uri = f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"
    return Drawing(uri, caption, _alternative(caption, ax), width, height)


def _alternative(caption: str, ax: Axes) -> str:
    """Return what the figure shows, as a text."""
    low, high = ax.get_ylim()
    text = (
        f"{caption}. Horizontal axis: {ax.get_xlabel()}. Vertical axis: {ax.get_ylabel()}, from {low:.3g} to "
        f"{high:.3g}."
    )
    if names := list(dict.fromkeys(ax.get_legend_handles_labels()[1])):
        text += f" Legend: {'; '.join(names)}."
    return text.replace("\\$", "\0").replace("$", "").replace("\0", "$")


def _with_tame_names(result: xr.Dataset) -> xr.Dataset:
    """Return a result whose names can be drawn: in one short line, and dollars are no formulas."""
    tame = result.copy()
    for name, variable in result.variables.items():
        attributes = {
            key: _tame(value, LONGEST_LABEL) if isinstance(value, str) else value
            for key, value in variable.attrs.items()
        }
        if name in result.coords and variable.ndim == 1 and variable.dtype.kind in "OUT":
            values = np.array([_tame(str(value), LONGEST_NAME) for value in variable.values], dtype=object)
            tame = tame.assign_coords({name: (variable.dims, values, attributes)})
        else:
            tame[name].attrs = attributes
    return tame


def _tame(text: str, longest: int) -> str:
    short = text if len(text) <= longest else text[: longest - 3] + "..."
    return "".join(it if it.isprintable() else "?" for it in short).replace("$", r"\$")
