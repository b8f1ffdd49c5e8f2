"""Plots of several results on the same axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

Plot = TypeVar("Plot", bound=Callable[..., Axes])
Result = xr.Dataset | xr.DataTree
Results = Result | Mapping[str, Result]


def comparable(plot: Plot) -> Plot:
    """Decorate a plot so that it also takes ``{name: result}``: each is drawn in its own colour, with its name.

    Args:
        plot: Takes a result, ``ax=``, ``label=`` and ``color=``.
    """

    @wraps(plot)
    def drawn(ds: Results, **kwargs: Any) -> Axes:
        if not isinstance(ds, dict):
            return plot(ds, **kwargs)  # whatever it is, the plot refuses it
        options = dict(kwargs)
        check_names(ds, options)
        given = options.pop("ax", None)
        figures = set(plt.get_fignums())
        try:
            ax = given
            for index, (name, result) in enumerate(ds.items()):
                own = {} if {"color", "c"} & set(options) else {"color": f"C{index % 10}"}
                ax = plot(result, **{**options, **own, "ax": ax, "label": name})
        except Exception:
            for number in set(plt.get_fignums()) - figures:
                plt.close(number)
            raise
        assert isinstance(ax, Axes), "there is at least one result"
        legend_once(ax)
        return ax

    return cast(Plot, drawn)


def check_names(results: Mapping[Any, Any], options: Mapping[str, Any]) -> None:
    """Refuse results to compare that cannot be told apart.

    Raises:
        TypeError: If a name is no text, or ``label=`` is given, too.
        ValueError: If there are none.
    """
    if not results:
        raise ValueError("there is nothing to draw: the dictionary of results is empty.")
    wrong = [name for name in results if not isinstance(name, str)]
    if wrong:
        raise TypeError(f"the names of results to compare must be texts, got {wrong[0]!r}; write str(name).")
    if "label" in options:
        raise TypeError("label= names one result; of several, the names in the dictionary are used.")


def legend_once(ax: Axes) -> None:
    """Draw a legend in which every text comes once."""
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    if once:
        ax.legend([*reversed(once.values())], [*reversed(once)])
