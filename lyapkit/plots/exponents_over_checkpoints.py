"""Plot of Lyapunov exponents over training."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import (
    LINE,
    axes_or_new,
    check_trajectory,
    dataset_of,
    label,
    one_result,
    spread_ranks,
    with_defaults,
)

TIMES = {"checkpoint": "training iteration", "epoch": "epoch"}
"""Dimensions along which the results of one training lie, and the labels of the axis."""


@named_arguments(LINE)
@comparable
def exponents_over_checkpoints(
    ds: Results,
    *,
    ax: Axes | None = None,
    trajectory: str | float | None = None,
    lines: int = 20,
    cmap: str = "viridis",
    **line: Any,
) -> Axes:
    """Draw exponents against training iteration, one line per rank, coloured from the first rank to the last.

    Args:
        ds: Results of `lyapkit.lyapunov_spectrum` for several checkpoints of one network, put together along a
            dimension ``checkpoint`` whose coordinate is the training iteration, or ``epoch`` (see the example); or
            ``{name: results}`` of several networks to compare, each in its own colour.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate; the mean over all by default, or, where they have names, each
            in its own colour, with a legend that names up to ten.
        lines: Largest number of exponents to draw, evenly spread over the ranks with first and last included.
        cmap: Name of the colour map of the ranks of a single network.
        line: Passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only, and a ``color`` to
            all.

    Returns:
        The axes, checkpoints in the order of their iterations. The first and the last rank are written beside their
        lines. Annihilated directions (-inf) are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no checkpoints or such trajectory, or ``lines`` is
            below 1.

    Example:
        >>> import lyapkit, torch, xarray as xr
        >>> spectra = [
        ...     lyapkit.lyapunov_spectrum(torch.nn.RNN(1, 4), torch.randn(20, 1)).assign_coords(checkpoint=iteration)
        ...     for iteration in (0, 100, 200)
        ... ]
        >>> training = xr.concat([one[["lyapunov_exponent"]] for one in spectra], "checkpoint")
        >>> lyapkit.plots.exponents_over_checkpoints(training).get_xlabel()
        'training iteration'
    """
    ds = dataset_of(ds, "lyapunov_spectrum")
    along = next((name for name in TIMES if name in ds.dims), "checkpoint")
    if along not in ds.dims or along not in ds.coords:
        raise ValueError(
            f"the Dataset has no {along} dimension with a coordinate; give each result its {TIMES[along]} with "
            f'.assign_coords({along}=number) and put them together with xr.concat(..., "{along}").'
        )
    if not np.issubdtype(ds[along].dtype, np.number):
        raise ValueError(f"the {along} coordinate must hold {TIMES[along]}s, got {ds[along].dtype}; use numbers.")
    ds = one_result(ds, "lyapunov_spectrum", "lyapunov_exponent", along, "trajectory", "exponent")
    if trajectory is not None:
        check_trajectory(ds, trajectory)
    ranks = spread_ranks(ds.sizes["exponent"], lines)
    ax = axes_or_new(ax)
    exponent = ds["lyapunov_exponent"].sortby(along)
    units = label(exponent)
    exponent = exponent.mean("trajectory") if trajectory is None else exponent.sel(trajectory=trajectory)
    exponent = exponent.transpose(along, "exponent")
    iteration = exponent[along].values
    style = with_defaults(line, marker="o", markersize=2.5, linewidth=0.9)
    name = style.pop("label", None)
    colors = mpl.colormaps[cmap](np.linspace(0, 0.9, len(ranks)))  # the brightest end is hard to see on white
    for color, rank in zip(colors, ranks, strict=True):
        values = np.where(np.isfinite(exponent.values[:, rank]), exponent.values[:, rank], np.nan)
        (drawn,) = ax.plot(iteration, values, label=name if rank == ranks[0] else None, **{"color": color, **style})
        shown = np.flatnonzero(np.isfinite(values))
        if rank in (ranks[0], ranks[-1]) and shown.size:
            ax.annotate(
                rf"$\lambda_{{{exponent['exponent'].values[rank]}}}$",
                (iteration[shown[-1]], values[shown[-1]]),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=drawn.get_color(),
                bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 0.5},  # not struck by the zero line
            )
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set_xlabel(TIMES[along])
    ax.set_ylabel(units)
    return ax
