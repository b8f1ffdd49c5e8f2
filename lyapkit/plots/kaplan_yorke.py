"""Plot of sums of exponents, which define the Kaplan-Yorke dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lyapkit.checks.named_arguments import named_arguments
from lyapkit.plots._comparing import Results, comparable
from lyapkit.plots._labels import LINE, axes_or_new, check_trajectory, one_result, with_defaults


@named_arguments(LINE)
@comparable
def kaplan_yorke(ds: Results, *, ax: Axes | None = None, trajectory: str | float = 0, **line: Any) -> Axes:
    r"""Draw the sums lambda_1 + ... + lambda_j against j; they cross zero at the Kaplan-Yorke dimension.

    The sum of the j leading exponents is the growth rate of j-dimensional volumes, and its maximum the entropy rate
    (Pesin's bound). Interpolated linearly, it reaches zero at
    :math:`D = j + (\lambda_1 + \cdots + \lambda_j) / |\lambda_{j+1}|` (Kaplan & Yorke 1979).

    Args:
        ds: Result of `lyapkit.lyapunov_spectrum`, or ``{name: result}`` of several to compare.
        ax: Axes to draw on; a new figure by default.
        trajectory: Trajectory to draw, by its coordinate. Where trajectories have names, all are drawn by default, each
            in its own colour, and a legend names up to ten.
        line: Passed on to `matplotlib.axes.Axes.plot`, such as ``color`` or ``label``.

    Returns:
        The axes, with the dimension marked and written. Where the computed exponents are too few, it is written as a
        lower bound, without a mark. Sums of -inf are not drawn. Where sums fall further below zero than they rise above
        it, the view ends as far below as the highest sum is above; ``ax.autoscale()`` shows all.

    Raises:
        ValueError: If ``ds`` is the result of another analysis, or has no such trajectory.

    Example:
        >>> import lyapkit
        >>> ds = lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=2000)
        >>> ax = lyapkit.plots.kaplan_yorke(ds)
        >>> ax.texts[0].get_text()
        '$D_{\\mathrm{KY}} = 1.26$'
    """
    ds = one_result(ds, "lyapunov_spectrum", "lyapunov_exponent", "trajectory", "exponent")
    check_trajectory(ds, trajectory)
    ax = axes_or_new(ax)
    one = ds.sel(trajectory=trajectory)
    sums = np.concatenate(([0.0], one["lyapunov_exponent"].values.cumsum()))
    index = np.arange(sums.size)
    drawn = np.isfinite(sums)
    (curve,) = ax.plot(index[drawn], sums[drawn], **with_defaults(line, marker="o", markersize=2.5, linewidth=1.0))
    ax.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    dimension, is_bound = float(one["kaplan_yorke_dimension"]), bool(one["kaplan_yorke_is_lower_bound"])
    if is_bound:
        text = rf"$D_{{\mathrm{{KY}}}} \geq {dimension:g}$"
    else:
        text = rf"$D_{{\mathrm{{KY}}}} = {dimension:.3g}$"
        ax.plot(
            [dimension],
            [0.0],
            linestyle="none",
            marker="o",
            markersize=4.5,
            markerfacecolor="white",
            markeredgecolor=curve.get_color(),
            zorder=curve.get_zorder() + 1,
        )
    _limit_view(ax)
    # sums are positive before the dimension and negative after: above right and below left of it is empty
    is_left = dimension <= 0.4 * ax.get_xlim()[1]
    ax.annotate(
        text,
        (dimension, 0.0),
        xytext=(4, 4) if is_left else (-4, -5),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="bottom" if is_left else "top",
        color=curve.get_color(),
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("number of exponents $j$")
    units = ds["lyapunov_exponent"].attrs["units"]
    ax.set_ylabel(rf"$\lambda_1 + \ldots + \lambda_j$ ({units})")
    return ax


def _limit_view(ax: Axes) -> None:
    """Limit the view downwards to as much below zero as the highest sum lies above it."""
    curves = [line.get_xydata() for line in ax.lines if line.get_transform() == ax.transData]
    points = np.concatenate([np.asarray(curve) for curve in curves])  # (points, 2)
    highest = points[:, 1].max()
    seen = points[:, 1] >= -highest
    if highest > 0 and not seen.all():
        right = np.floor(points[seen, 0].max()) + 1
        ax.set_xlim(-0.05 * right, right)
        ax.set_ylim(-1.05 * highest, 1.15 * highest)
