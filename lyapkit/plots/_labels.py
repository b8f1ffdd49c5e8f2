"""Axes to draw on, and labels from the variables' own attributes, for all plots."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib import cbook
from matplotlib.artist import Artist, ArtistInspector
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN, CARETUP
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

DATA = {"self", "args", "kwargs", "x", "y", "yerr", "data"}
"""Parameters of matplotlib's methods that the plots set themselves."""


def _keywords(artist: type[Artist], method: Callable[..., Any]) -> frozenset[str]:
    """Return the keywords of one of matplotlib's methods and of the artists that it draws."""
    inspector = ArtistInspector(artist)
    aliases = {alias for names in inspector.aliasd.values() for alias in names}
    return frozenset({*inspector.get_setters(), *aliases, *inspect.signature(method).parameters} - DATA)


LINE = _keywords(Line2D, Axes.plot)
ERRORBAR = _keywords(Line2D, Axes.errorbar)
MESH = _keywords(QuadMesh, Axes.pcolormesh)
"""Keywords that the plots pass on to matplotlib."""


def axes_or_new(ax: object) -> Axes:
    """Return the given axes, or those of a new figure.

    Raises:
        TypeError: If something else than axes is given.
    """
    if ax is None:
        return plt.figure(layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        remedy = "pass one of its axes, such as axes.flat[0]" if isinstance(ax, np.ndarray) else "see plt.subplots()"
        if isinstance(ax, FigureBase):
            remedy = "pass figure.add_subplot()"
        raise TypeError(f"ax must be the Axes to draw on, got {type(ax).__name__}; {remedy}.")
    return ax


def with_defaults(line: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Return the user's line properties over our own, under any of matplotlib's names (``lw``, ``linewidth``)."""
    return {**defaults, **cbook.normalize_kwargs(dict(line), Line2D)}


def next_color(ax: Axes) -> Any:
    """Return the next colour of the axes' cycle, for several lines that share it."""
    (line,) = ax.plot([], [])
    line.remove()
    return line.get_color()


def nth_color(index: int) -> str:
    """Return a colour of the cycle in use, from 0, that stays the same when the style is left."""
    return to_hex(f"C{index}")


class Ranks(MaxNLocator):
    """Ticks at integers from 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"integer": True, "min_n_ticks": 1, **options})

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the places of ticks between two limits."""
        return [tick for tick in super().tick_values(vmin, vmax) if tick >= 1]


def mark_at_edge(ax: Axes, x: NDArray[np.float64], color: Any, text: str, *, is_upper: bool = False) -> None:
    """Draw triangles whose tips touch the lower or upper edge, wherever that comes to lie, with one legend entry."""
    if not x.size:
        return
    known = text in ax.get_legend_handles_labels()[1]
    ax.plot(
        x,
        np.full(x.size, float(is_upper)),
        transform=ax.get_xaxis_transform(),
        linestyle="none",
        marker=CARETUP if is_upper else CARETDOWN,
        markersize=5,
        color=color,
        label=f"_{text}" if known else text,
    )
    ax.legend()


def spread_ranks(count: int, lines: int) -> list[int]:
    """Return at most ``lines`` of the positions 0, ..., count - 1, evenly spread with first and last included.

    Raises:
        TypeError: If ``lines`` is not an integer.
        ValueError: If it is below 1.
    """
    chosen: list[int] = np.unique(np.linspace(0, count - 1, check_count("lines", lines)).round().astype(int)).tolist()
    return chosen


def label(variable: xr.DataArray) -> str:
    """Return ``long_name (units)``, without units where they are 1."""
    units = variable.attrs["units"]
    return variable.attrs["long_name"] if units == "1" else f"{variable.attrs['long_name']} ({units})"


def one_result(result: object, analysis: str, variable: str, *dims: str) -> xr.Dataset:
    """Return the one result that a plot draws, with its dimensions in the given order.

    A node of a tree stands for its Dataset. A further dimension of size 1 is dropped.

    Args:
        result: The user's argument.
        analysis: The analysis whose result is wanted.
        variable: The variable that is drawn.
        dims: Its dimensions.

    Raises:
        TypeError: If it is neither a Dataset nor a node of a tree.
        ValueError: If it is the result of another analysis, a tree of several, a part of a result or several in one.
    """
    dataset = dataset_of(result, analysis)
    if variable not in dataset:
        if json.loads(dataset.attrs.get("config_json", "{}")).get("keep") == "summary":
            raise ValueError(f'the Dataset has no {variable}: it was made with keep="summary"; use keep="series".')
        raise ValueError(f"the Dataset has no variable {variable}; pass the whole result of {analysis}.")
    found = dataset[variable].dims
    lost = [name for name in dims if name not in found]
    if lost:
        raise ValueError(f"the Dataset has no {lost[0]} dimension; select with a list, .isel({lost[0]}=[0]).")
    for name in found:
        size = dataset.sizes[name]
        if name not in dims and size != 1:
            raise ValueError(
                f"the Dataset has {size} results along the dimension {name!r}, and the plot draws one; choose it with "
                f".isel({name}=0), or draw each on the same axes with ax=."
            )
    single = {name: 0 for name in found if name not in dims}
    return dataset.isel(single).transpose(*dims, ...)


def dataset_of(result: object, analysis: str) -> xr.Dataset:
    """Return the Dataset of an analysis, also from a node of a tree.

    Raises:
        TypeError: If it is neither a Dataset nor a node of a tree.
        ValueError: If it is the result of another analysis, or a tree of several.
    """
    if isinstance(result, xr.DataTree):
        if "analysis" not in result.attrs and result.children:
            paths = (node.relative_to(result) for node in result.subtree if node.attrs.get("analysis") == analysis)
            first = next(paths, None)
            remedy = (
                f"none of them is a result of {analysis}" if first is None else f"pass one, such as tree[{first!r}]"
            )
            raise ValueError(
                f"this plot draws one result, got a tree with the nodes {', '.join(result.children)}; {remedy}."
            )
        result = result.to_dataset()
    if not isinstance(result, xr.Dataset):
        remedy = "pass the Dataset itself"
        if isinstance(result, dict | list | tuple):
            remedy = "draw them one by one on the same axes, with ax= and label="
        elif isinstance(result, str | PathLike):
            remedy = "read the file first, with lyapkit.load"
        elif isinstance(getattr(result, "result", None), xr.DataTree):
            remedy = f"pass the result, .result[{analysis!r}]"
        elif isinstance(result, xr.DataArray):
            remedy = "pass the whole Dataset, of which this is one variable"
        raise TypeError(f"this plot draws the Dataset that {analysis} returns, got {type(result).__name__}; {remedy}.")
    found = result.attrs.get("analysis")
    if found != analysis:
        got = found or "a Dataset without provenance, whose attributes some operation has dropped (keep_attrs=True)"
        raise ValueError(f"this plot draws the result of {analysis}, got {got}.")
    return result


def names_of_trajectories(dataset: xr.Dataset | xr.DataArray) -> list[str] | None:
    """Return the names of a result's trajectories for a legend, or None where they are mere numbers from 0."""
    if "trajectory" not in dataset.dims or "trajectory" not in dataset.coords:
        return None
    labels = dataset["trajectory"].values.tolist()
    if all(isinstance(each, str) for each in labels):
        return [str(each) for each in labels]
    said = dataset["trajectory"].attrs.get("long_name", "").endswith("by name")
    has_names = said or dataset["trajectory"].dtype.kind == "f"
    return [f"trajectory {each:g}" for each in labels] if has_names else None


def check_trajectory(dataset: xr.Dataset, trajectory: object) -> None:
    """Refuse a trajectory that does not exist.

    Raises:
        ValueError: If it is not one of the result's trajectories; the message names them.
    """
    there = dataset["trajectory"].values.tolist()
    if np.ndim(trajectory) or trajectory not in there:  # type: ignore[arg-type]
        found = ", ".join(map(str, there if len(there) <= 6 else [*there[:5], "...", there[-1]]))
        raise ValueError(f"trajectory must be one of {found}; got {trajectory!r}.")


def check_count(name: str, value: object) -> int:
    """Check a number of things to draw, and return it as an int.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer of at least 1, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return int(value)
