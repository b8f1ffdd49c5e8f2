"""Rank plot of curvature eigenvalues."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, Ranks, axes_or_new, one_result, with_defaults

OPERATORS = {"hessian": "Hessian", "ggn": "Gauss-Newton", "residual": "residual"}


@named_arguments(LINE)
@comparable
def hessian_spectrum(ds: Results, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the magnitude of the eigenvalues by rank, as Fig. 2C of Dubinin & Effenberger (2024), with visible signs.

    Args:
        ds: Result of `lyapkit.hessian_spectrum`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color``, ``label`` or ``marker``.

    Returns:
        The axes; the vertical axis is logarithmic. Filled markers are positive eigenvalues; open ones are negative, and
        the label of the axis says so where there are any. Bars are the residuals, within which a true eigenvalue lies.
        Eigenvalues of exactly zero are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis.

    Example:
        >>> import lyapkit, torch
        >>> model, x = torch.nn.Linear(2, 1, bias=False), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> ds = lyapkit.hessian_spectrum(model, (x, torch.zeros(2, 1)), torch.nn.functional.mse_loss, k=2)
        >>> lyapkit.plots.hessian_spectrum(ds).get_yscale()
        'log'
    """
    ds = one_result(ds, "hessian_spectrum", "eigenvalue", "rank")
    ax = axes_or_new(ax)
    rank, value, residual = ds["rank"].values, ds["eigenvalue"].values, ds["residual"].values
    style = with_defaults(line, marker="o", markersize=3.5, linewidth=0.7)
    (drawn,) = ax.plot(rank, abs(value), **style)
    negative = value < 0
    ax.plot(
        rank[negative],
        abs(value[negative]),
        linestyle="none",
        marker=drawn.get_marker(),
        markersize=drawn.get_markersize(),
        markerfacecolor="white",
        markeredgecolor=drawn.get_color(),
        zorder=drawn.get_zorder() + 1,
    )
    ax.errorbar(rank, abs(value), yerr=residual, fmt="none", ecolor=drawn.get_color(), elinewidth=0.8)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(Ranks())
    ax.set_xlabel("rank of the eigenvalue")
    open_before = "open" in ax.get_ylabel()
    signs = r", open: $\lambda < 0$" if negative.any() or open_before else ""
    ax.set_ylabel(rf"{OPERATORS[operator_of(ds)]} eigenvalue $|\lambda|${signs}")
    return ax


def operator_of(ds: xr.Dataset) -> str:
    """Return the operator of a result; the Hessian where the result does not say."""
    operator: str = json.loads(ds.attrs.get("config_json", "{}")).get("operator", "hessian")
    return operator
