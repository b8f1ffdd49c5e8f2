"""Plots of the runs of a sweep over what was swept."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._labels import axes_or_new, label, next_color, with_defaults
from wcrnn_models.errors import suggestion

_DECADES = 100.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic; chosen by eye."""


def swept(ds: xr.Dataset) -> list[str]:
    """Return the fields in which the runs of a sweep differ, ``seed`` last.

    Args:
        ds: A result of `wcrnn_models.collect` or `wcrnn_models.collect_analyses` with ``by="run"``.

    Raises:
        ValueError: If it is another Dataset.
    """
    if "run" not in ds.dims:
        raise ValueError('this plot draws runs one by one; collect them with by="run".')
    names = [str(name) for name in ds.coords if ds[name].dims == ("run",) and name != "run"]
    return sorted(names, key=lambda name: name == "seed")


def sweep_metric(
    ds: xr.Dataset, along: str | None = None, *, variable: str = "best_metric", ax: Axes | None = None, **line: Any
) -> Axes:
    """Draw a measurement of every run against a swept field, with a line for each combination of the others.

    Lines of networks that differ in their seed alone have one colour.

    Args:
        ds: Result of `wcrnn_models.collect` with ``by="run"``.
        along: Field of the horizontal axis; the first that was swept by default.
        variable: Measurement to draw, one number per run.
        ax: Axes to draw on; a new figure by default.
        line: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        The axes. Runs without the measurement are not drawn.

    Raises:
        ValueError: If ``ds`` is another result, or a field or a variable is unknown.
    """
    along = _field(ds, along)
    if variable not in ds or ds[variable].dims != ("run",):
        raise ValueError(f"the Dataset has no variable {variable!r} with one number per run.")
    others = [name for name in swept(ds) if name not in (along, "seed")]
    ax = axes_or_new(ax)
    style = with_defaults(line, marker="o", markersize=3.0, linewidth=0.9)
    for group, runs in _groups(ds, others):
        color = next_color(ax)
        text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in zip(others, group, strict=True))
        seeds = _groups(runs, ["seed"] if "seed" in swept(ds) and along != "seed" else [])
        for number, (_, each) in enumerate(seeds):
            ordered = each.sortby(along)
            ax.plot(
                ordered[along].values,
                ordered[variable].values,
                **{"color": color, "label": text if text and number == 0 else None, **style},
            )
    metric = ds.attrs.get("metric_name")
    ax.set_ylabel(label(ds[variable]) + (f" ({metric})" if metric and "metric" in variable else ""))
    if others:
        ax.legend()
    return _scaled(ax, ds, along)


def sweep_exponents(ds: xr.Dataset, along: str | None = None, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the Lyapunov exponents of the last checkpoint of every run against a swept field, as dots.

    Args:
        ds: Result of `wcrnn_models.collect_analyses` for ``"lyapunov_spectrum"`` with ``by="run"``.
        along: Field of the horizontal axis; the first that was swept by default.
        ax: Axes to draw on; a new figure by default.
        line: Passed on to `matplotlib.axes.Axes.plot`.

    Returns:
        The axes. All trajectories are drawn; annihilated directions (-inf) are not.

    Raises:
        ValueError: If ``ds`` is another result, or the field is unknown.
    """
    along = _field(ds, along)
    if "lyapunov_exponent" not in ds:
        raise ValueError('the Dataset has no lyapunov_exponent; collect the analysis "lyapunov_spectrum".')
    ax = axes_or_new(ax)
    exponent = ds["lyapunov_exponent"].isel(checkpoint=-1).transpose("run", ...)
    values = exponent.values.reshape(exponent.sizes["run"], -1)
    style = with_defaults(line, marker=".", markersize=2.5, linestyle="none", color=next_color(ax))
    ax.plot(ds[along].values, np.where(np.isfinite(values), values, np.nan), **style)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set_ylabel(label(exponent))
    return _scaled(ax, ds, along)


def _field(ds: xr.Dataset, along: str | None) -> str:
    names = swept(ds)
    if not names:
        raise ValueError("nothing was swept: the runs do not differ; give a sweep of at least two.")
    if along is not None and along not in names:
        raise ValueError(f"{along!r} was not swept, only {', '.join(names)}.{suggestion(along, names)}")
    return names[0] if along is None else along


def _groups(ds: xr.Dataset, names: list[str]) -> list[tuple[tuple[Any, ...], xr.Dataset]]:
    """Return the runs of each combination of some fields, in the order in which they first appear."""
    keys = list(zip(*(ds[name].values.tolist() for name in names), strict=True)) if names else [()] * ds.sizes["run"]
    return [
        (key, ds.isel(run=[place for place, other in enumerate(keys) if other == key])) for key in dict.fromkeys(keys)
    ]


def _scaled(ax: Axes, ds: xr.Dataset, along: str) -> Axes:
    """Label the horizontal axis, and make it logarithmic where values span decades."""
    values = ds[along].values
    if values.dtype.kind in "fiu" and values.min() > 0 and values.max() >= _DECADES * values.min():
        ax.set_xscale("log")
    ax.set_xlabel(str(ds[along].attrs["long_name"]))
    return ax
