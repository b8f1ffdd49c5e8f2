"""Plot of a Lyapunov spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import (
    ERRORBAR,
    Ranks,
    axes_or_new,
    check_trajectory,
    label,
    mark_at_edge,
    next_color,
    one_result,
    with_defaults,
)

ANNIHILATED = "-inf: annihilated"
"""Legend entry of directions that the map annihilates, whose exponent is -inf."""


@named_arguments(ERRORBAR)
@comparable
def lyapunov_spectrum(
    ds: Results,
    *,
    ax: Axes | None = None,
    trajectory: str | float = 0,
    fraction_axis: bool = False,
    band: bool = False,
    **line: Any,
) -> Axes:
    """Draw the exponents by rank, with their standard errors.

    Args:
        ds: Result of `lyapkit.lyapunov_spectrum`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate. Where trajectories have names, all are drawn by default, each
            in its own colour, and a legend names up to ten.
        fraction_axis: Whether to draw against i/N, rank divided by state size, to compare networks of different sizes.
        band: Whether to shade exponent plus and minus standard error instead of drawing bars, for many exponents.
        line: Passed on to `matplotlib.axes.Axes.errorbar`, such as ``color`` or ``label``.

    Returns:
        The axes. Annihilated directions (-inf) are triangles at the lower edge, which the legend then explains;
        unknown errors (inf) are not drawn.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, has no such trajectory, or does not say N for
            ``fraction_axis``.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=200)
        >>> lyapkit.plots.lyapunov_spectrum(ds).get_ylabel()
        'Lyapunov exponent (nats per step)'
    """
    ds = one_result(ds, "lyapunov_spectrum", "lyapunov_exponent", "trajectory", "exponent")
    check_trajectory(ds, trajectory)
    if fraction_axis and "unit" not in ds.dims:
        raise ValueError(
            "the Dataset has no unit dimension, whose size is the state size N that fraction_axis divides by; draw "
            "against the rank, or compute the spectrum again with this version."
        )
    ax = axes_or_new(ax)
    exponent = ds["lyapunov_exponent"].sel(trajectory=trajectory)
    error = ds["standard_error"].sel(trajectory=trajectory).values
    rank = exponent["exponent"].values
    x = rank / ds.sizes["unit"] if fraction_axis else rank
    drawn = np.isfinite(exponent.values)
    value, error = exponent.values[drawn], np.where(np.isfinite(error), error, 0.0)[drawn]
    shape = {} if "fmt" in line else {"marker": "o", "linestyle": "-"}
    style = with_defaults(line, **shape, markersize=2.5, capsize=0)
    (curve, *_) = ax.errorbar(x[drawn], value, yerr=None if band else error, **style)
    color = next_color(ax) if curve is None else curve.get_color()
    if band:
        ax.fill_between(x[drawn], value - error, value + error, color=color, alpha=0.25, linewidth=0)
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    mark_at_edge(ax, x[np.isneginf(exponent.values)], color, ANNIHILATED)
    if not fraction_axis:
        ax.xaxis.set_major_locator(Ranks())
    ax.set_xlabel("rank of the exponent / state size $i/N$" if fraction_axis else "rank of the exponent")
    ax.set_ylabel(label(exponent))
    return ax
