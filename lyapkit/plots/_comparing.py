"""Plots of several results on the same axes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._labels import names_of_trajectories, nth_color

P = ParamSpec("P")
Results = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset | xr.DataTree]


MOST_NAMES = 10
"""Results that a legend names: as many as there are colours."""


def comparable(plot: Callable[P, Axes]) -> Callable[P, Axes]:
    """Decorate a plot so that it also takes ``{name: result}``: each is drawn in its own colour, with its name.

    A plot that can draw one trajectory draws all of a result whose trajectories have names, in the same way.

    Args:
        plot: Takes a result ``ds``, ``ax=``, ``label=`` and ``color=``; with ``trajectory=`` it draws one.
    """
    draws_one = "trajectory" in inspect.signature(plot).parameters

    @wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Axes:
        ds: Any = args[0] if args else kwargs["ds"]
        options: dict[str, Any] = {name: value for name, value in kwargs.items() if name != "ds"}
        several = isinstance(ds, dict)
        check_names(ds if several else {"": ds}, options if several else {})
        results = ds if several else {options.get("label"): ds}
        parts = [
            part
            for name, result in results.items()
            for part in (_by_trajectory(name, result) if draws_one and "trajectory" not in options else [])
            or [(name, result, {})]
        ]
        if not isinstance(ds, dict) and len(parts) == 1 and not parts[0][2]:
            return plot(*args, **kwargs)
        figures = set(plt.get_fignums())
        anyhow: Callable[..., Axes] = plot
        ax = options.pop("ax", None)
        places: dict[str | None, int] = {}
        try:
            for name, result, which in parts:
                index = places.setdefault(name, len(places))
                own = {} if {"color", "c"} & set(options) else {"color": nth_color(index)}
                text = name if isinstance(ds, dict) or index < MOST_NAMES else f"_{name}"  # not in the legend
                ax = anyhow(result, **{**options, **own, **which, "ax": ax, "label": text})
        except Exception:
            for number in set(plt.get_fignums()) - figures:
                plt.close(number)
            raise
        assert isinstance(ax, Axes), "there is at least one result"
        legend_once(ax)
        return ax

    return drawn


def _by_trajectory(name: str | None, result: object) -> list[tuple[str | None, xr.Dataset, dict[str, Any]]]:
    """Return each trajectory of a result with its name and what chooses it; nothing where they have no names."""
    dataset = result.to_dataset() if isinstance(result, xr.DataTree) else result
    names = names_of_trajectories(dataset) if isinstance(dataset, xr.Dataset) else None
    if names is None:
        return []
    assert isinstance(dataset, xr.Dataset), "it has names"
    labels = dataset["trajectory"].values.tolist()
    return [
        (own if name is None else f"{name}, {own}", dataset.isel(trajectory=[place]), {"trajectory": labels[place]})
        for place, own in enumerate(names)
    ]


def check_names(results: Mapping[Any, Any], options: Mapping[str, Any]) -> None:
    """Refuse results to compare that cannot be told apart.

    Raises:
        TypeError: If a name is no text, ``label=`` is given, too, or a result is a list of them.
        ValueError: If there are none.
    """
    for result in results.values():
        if isinstance(result, list | tuple):
            raise TypeError(
                f"this plot draws one result or several with names, got {type(result).__name__}; give them names, "
                "{name: result}."
            )
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
    once: dict[str, Any] = {}
    for text, handle in zip(labels, handles, strict=True):
        once.setdefault(text, handle)
    if once:
        ax.legend([*once.values()], [*once])
