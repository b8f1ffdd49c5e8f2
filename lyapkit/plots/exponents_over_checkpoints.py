"""Plot of Lyapunov exponents over training."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots._labels import (
    axes_or_new,
    check_analysis,
    check_trajectory,
    label,
    spread_ranks,
    with_defaults,
)


def exponents_over_checkpoints(
    ds: xr.Dataset,
    *,
    ax: Axes | None = None,
    trajectory: int | None = None,
    lines: int = 20,
    cmap: str = "viridis",
    **line: Any,
) -> Axes:
    """Exponents against training iteration, one line per rank, coloured from the first rank to the last.

    Args:
        ds: results of `lyapkit.lyapunov_spectrum` for several checkpoints of one network, put together along a
            dimension ``checkpoint`` whose coordinate is the training iteration (see the example).
        ax: axes to draw on; a new figure by default.
        trajectory: which trajectory; the mean over all by default.
        lines: at most how many exponents, evenly spread over the ranks with first and last included.
        cmap: name of the colour map of the ranks.
        line: passed on to `matplotlib.axes.Axes.plot`; a ``label`` is given to the first line only, and a ``color`` to
            all.

    Returns:
        The axes, checkpoints in the order of their iterations. The first and the last rank are written beside their
        lines. Annihilated directions (-inf) are not drawn.

    Raises:
        ValueError: ``ds`` is another analysis' result, has no checkpoints or such trajectory, or ``lines`` is below 1.

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
    check_analysis(ds, "lyapunov_spectrum")
    if "checkpoint" not in ds.dims or "checkpoint" not in ds.coords:
        raise ValueError(
            "the Dataset has no checkpoint dimension with a coordinate; give each result its training iteration with "
            '.assign_coords(checkpoint=iteration) and put them together with xr.concat(..., "checkpoint").'
        )
    if not np.issubdtype(ds["checkpoint"].dtype, np.number):
        raise ValueError(
            f"the checkpoint coordinate must hold training iterations, got {ds['checkpoint'].dtype}; use numbers."
        )
    check_trajectory(ds, trajectory)
    ranks = spread_ranks(ds.sizes["exponent"], lines)
    ax = axes_or_new(ax)
    exponent = ds["lyapunov_exponent"].sortby("checkpoint")
    units = label(exponent)
    exponent = exponent.mean("trajectory") if trajectory is None else exponent.sel(trajectory=trajectory)
    exponent = exponent.transpose("checkpoint", "exponent")
    iteration = exponent["checkpoint"].values
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
            )
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    ax.set_xlabel("training iteration")
    ax.set_ylabel(units)
    return ax
