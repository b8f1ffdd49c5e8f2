"""Plots of several results on the same axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

P = ParamSpec("P")
Results = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree]


def comparable(plot: Callable[P, Axes]) -> Callable[P, Axes]:
    """Decorate a plot so that it also takes ``{name: result}``: each is drawn in its own colour, with its name.

    Args:
        plot: Takes a result ``ds``, ``ax=``, ``label=`` and ``color=``.
    """

    @wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Axes:
        ds: Any = args[0] if args else kwargs["ds"]
        if not isinstance(ds, dict):
            return plot(*args, **kwargs)
        options: dict[str, Any] = {name: value for name, value in kwargs.items() if name != "ds"}
        check_names(ds, options)
        figures = set(plt.get_fignums())
        anyhow: Callable[..., Axes] = plot
        ax = options.pop("ax", None)
        try:
            for index, (name, result) in enumerate(ds.items()):
                own = {} if {"color", "c"} & set(options) else {"color": f"C{index % 10}"}
                ax = anyhow(result, **{**options, **own, "ax": ax, "label": name})
        except Exception:
            for number in set(plt.get_fignums()) - figures:
                plt.close(number)
            raise
        assert isinstance(ax, Axes), "there is at least one result"
        legend_once(ax)
        return ax

    return drawn


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
